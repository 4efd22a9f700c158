-- The id of every planned order appears in exactly one plan, and no plan holds an order that was not planned.
-- tables: approved_orders, order_plan
-- on: approved_orders
-- severity: error

-- An order without an id, or of no plan, is a matter of not_null.
with decided as (
    select session, client_order_id, count(*) as decisions, count(distinct plan_id) as plans
    from approved_orders
    where client_order_id is not null
    group by session, client_order_id
),

planned as (select distinct session, client_order_id from order_plan where client_order_id is not null)

select
    coalesce(decided.session, planned.session) as session,
    coalesce(decided.client_order_id, planned.client_order_id) as client_order_id,
    planned.client_order_id is not null as is_planned,
    coalesce(decided.decisions, 0) as decisions,
    coalesce(decided.plans, 0) as plans
from decided
full join planned on planned.session = decided.session and planned.client_order_id = decided.client_order_id
where planned.client_order_id is null or decided.client_order_id is null or decided.decisions > 1 or decided.plans > 1
