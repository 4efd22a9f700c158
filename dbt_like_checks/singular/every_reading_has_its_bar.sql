-- Every reading of a symbol on the session comes from a bar of that symbol and session.
-- tables: indicators, bars, asset_catalog
-- on: indicators
-- severity: error

-- Readings of groups of symbols have no bar of their own: what is in the catalog is a symbol.
-- Undefined readings are null and were made from nothing.
select session, symbol, indicator, "window", value
from indicators
where
    observed = session
    and value is not null
    and symbol in (select asset_catalog.symbol from asset_catalog where asset_catalog.symbol is not null)
    and not exists (
        select 1 from bars
        where bars.symbol = indicators.symbol and bars.session = indicators.session and bars.close is not null
    )
