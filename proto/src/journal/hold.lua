-- Gives a duty to whoever asks first, or has it.
-- KEYS: duty.
-- ARGV: incarnation, ms to hold it.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
    return { 'other' }
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return { 'held' }
