-- No order is approved of a symbol that the broker does not know or lets nobody trade.
-- tables: approved_orders, asset_catalog
-- on: approved_orders
-- severity: error

select orders.session, orders.symbol, orders.side, orders.approved_quantity, catalog.tradable
from approved_orders as orders
left join asset_catalog as catalog on catalog.session = orders.session and catalog.symbol = orders.symbol
where orders.approved_quantity > 0 and not coalesce(catalog.tradable, false)
