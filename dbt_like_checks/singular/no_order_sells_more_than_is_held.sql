-- No order sells more shares of a symbol than the account holds.
-- tables: order_plan, portfolio_snapshot
-- on: order_plan
-- severity: error

-- What the snapshot does not list is not held.
select orders.session, orders.symbol, orders.client_order_id, orders.quantity, coalesce(held.quantity, 0) as held
from order_plan as orders
left join portfolio_snapshot as held on held.session = orders.session and held.symbol = orders.symbol
where orders.side = 'sell' and orders.quantity > coalesce(held.quantity, 0)
