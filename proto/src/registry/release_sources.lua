-- Gives sources back that are of the run that asks.
-- KEYS: leases of sources.
-- ARGV: incarnation.
for _, key in ipairs(KEYS) do
    if redis.call('GET', key) == ARGV[1] then
        redis.call('DEL', key)
    end
end
return { 'released' }
