-- Gives a lease back. What stays is its epoch, so that the next one is greater, and for a time its key, if the channel is
-- held for it. Nothing happens when the lease is not the caller's any more.
-- KEYS: lease.
-- ARGV: node, incarnation, epoch, ms of grace (0: the channel is free at once), ms to remember.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local node, incarnation, epoch = unpack(redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch'))
if node ~= ARGV[1] or incarnation ~= ARGV[2] or epoch ~= ARGV[3] then
    return { 'lost', epoch or '0' }
end
redis.call('HSET', KEYS[1], 'live_until', '0', 'held_until', string.format('%.0f', now + ARGV[4]))
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return { 'released' }
