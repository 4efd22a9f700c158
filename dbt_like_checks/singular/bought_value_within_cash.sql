-- What is bought costs no more than the cash of the account and the proceeds of the approved sales, to the cent.
-- tables: approved_orders, portfolio_snapshot
-- on: approved_orders
-- severity: error

-- At reference prices, as the orders were sized. An account without a row of cash has none.
with orders as (
    select
        session,
        sum(case when side = 'buy' then approved_quantity * reference_price else 0 end) as bought,
        sum(case when side = 'sell' then approved_quantity * reference_price else 0 end) as sold
    from approved_orders
    group by session
),

cash as (select session, sum(quantity) as cash from portfolio_snapshot where symbol = 'CASH' group by session)

select orders.session, orders.bought, orders.sold, coalesce(cash.cash, 0) as cash
from orders
left join cash on cash.session = orders.session
where orders.bought > 0 and orders.bought > coalesce(cash.cash, 0) + orders.sold + 0.01
