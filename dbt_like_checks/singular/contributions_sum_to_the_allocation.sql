-- A strategy that decided contributes its signal's weights times its share of the account, and nothing else.
-- tables: allocation, signals
-- on: allocation
-- severity: error

-- Its share is what its contributions sum to; that all shares sum to 1 is a promise of the contract.
-- Sleeves that are held, carried, replaced or cash owe nothing to the signal of the session.
-- A weight that is null counts as nothing. Rounding of floats is allowed for.
with given as (
    select session, strategy, symbol, coalesce(weight, 0) as weight from allocation where status = 'decided'
),

sleeve as (select session, strategy, sum(weight) as share from given group by session, strategy),

wanted as (
    select sleeve.session, sleeve.strategy, signals.symbol, sleeve.share * coalesce(signals.weight, 0) as weight
    from sleeve
    join signals on signals.session = sleeve.session and signals.strategy = sleeve.strategy
    where signals.status = 'available'
)

select
    coalesce(given.session, wanted.session) as session,
    coalesce(given.strategy, wanted.strategy) as strategy,
    coalesce(given.symbol, wanted.symbol) as symbol,
    given.weight as contributed,
    wanted.weight as signal_times_share
from given
full join wanted
    on given.session = wanted.session and given.strategy = wanted.strategy and given.symbol = wanted.symbol
where abs(coalesce(given.weight, 0) - coalesce(wanted.weight, 0)) > 1e-9
