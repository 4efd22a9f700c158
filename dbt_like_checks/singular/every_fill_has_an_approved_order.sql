-- Every fill belongs to an approved order of its plan, symbol and side.
-- tables: fills, approved_orders
-- on: fills
-- severity: error

-- A fill without an id of its order is a matter of not_null.
select fills.session, fills.execution_id, fills.client_order_id, fills.plan_id, fills.symbol, fills.side, fills.quantity
from fills
where
    fills.client_order_id is not null
    and not exists (
        select 1 from approved_orders as orders
        where
            orders.session = fills.session
            and orders.client_order_id = fills.client_order_id
            and orders.plan_id = fills.plan_id
            and orders.symbol = fills.symbol
            and orders.side = fills.side
            and orders.approved_quantity > 0
    )
