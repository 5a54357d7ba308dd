-- Gives a duty back, if it is the caller's.
-- KEYS: duty.
-- ARGV: incarnation.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return { 'other' }
end
redis.call('DEL', KEYS[1])
return { 'released' }
