-- No signal rests on a reading or a bar of a session after its own, and its session has bars.
-- tables: signals, indicators, bars
-- on: signals
-- severity: error

-- Readings and bars of the signal's session are all that a strategy is shown.
-- Without any bar every signal comes back: nobody can say what it was made from.
with signal as (select distinct session, strategy from signals)

select signal.session, signal.strategy, 'reading' as of, indicators.symbol, indicators.observed
from signal
join indicators on indicators.session = signal.session and indicators.observed > signal.session
union all
select signal.session, signal.strategy, 'bar' as of, bars.symbol, bars.session as observed
from signal
join bars on bars.session > signal.session
union all
select signal.session, signal.strategy, 'no bar of the session' as of, null as symbol, null as observed
from signal
where signal.session is not null and not exists (select 1 from bars where bars.session = signal.session)
