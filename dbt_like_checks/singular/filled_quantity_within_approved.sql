-- The fills of an order add up to no more shares than were approved of it.
-- tables: fills, approved_orders
-- on: fills
-- severity: error

with filled as (
    select session, client_order_id, sum(quantity) as filled from fills group by session, client_order_id
)

select filled.session, filled.client_order_id, orders.symbol, filled.filled, orders.approved_quantity
from filled
join approved_orders as orders
    on orders.session = filled.session and orders.client_order_id = filled.client_order_id
where filled.filled > orders.approved_quantity
