-- The fills of every order add up to the shares that its row of execution quality says were traded.
-- tables: execution_quality, fills
-- on: execution_quality
-- severity: warn

-- An order that was re-priced has several rows, and one sum. What differs may still be on its way: it is shown.
with said as (
    select session, client_order_id, sum(filled_quantity) as said
    from execution_quality
    where client_order_id is not null
    group by session, client_order_id
),

filled as (
    select session, client_order_id, sum(quantity) as filled
    from fills
    where client_order_id is not null
    group by session, client_order_id
)

select
    coalesce(said.session, filled.session) as session,
    coalesce(said.client_order_id, filled.client_order_id) as client_order_id,
    said.said,
    filled.filled
from said
full join filled on filled.session = said.session and filled.client_order_id = said.client_order_id
where coalesce(said.said, 0) <> coalesce(filled.filled, 0)
