-- Every approved order is the planned order of its id: risk decides how much of it passes, and changes nothing else.
-- tables: approved_orders, order_plan
-- on: approved_orders
-- severity: error

-- Of an order that was not planned speaks every_order_is_in_exactly_one_plan.
select
    approved.session,
    approved.client_order_id,
    planned.symbol || ' ' || planned.side || ' ' || planned.quantity as planned,
    approved.symbol || ' ' || approved.side || ' ' || approved.quantity as approved,
    planned.limit_price as planned_limit_price,
    approved.limit_price as approved_limit_price
from approved_orders as approved
join order_plan as planned
    on planned.session = approved.session and planned.client_order_id = approved.client_order_id
where
    planned.symbol <> approved.symbol
    or planned.side <> approved.side
    or planned.quantity <> approved.quantity
    or planned.order_type <> approved.order_type
    or planned.limit_price is distinct from approved.limit_price
    or planned.reference_price <> approved.reference_price
    or planned.notional <> approved.notional
    or planned.time_in_force <> approved.time_in_force
    or planned.execution_session <> approved.execution_session
    or planned.sequence <> approved.sequence
