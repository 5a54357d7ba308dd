-- Keeps a lease, or announces it again to a registry that has forgotten it. Refused when somebody has a newer one.
-- KEYS: lease.
-- ARGV: node, incarnation, key hash, epoch, ms to live, ms of grace, ms to remember.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local node, incarnation, epoch = unpack(redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch'))
epoch = tonumber(epoch) or 0
local mine = tonumber(ARGV[4])
if epoch > mine or (epoch == mine and (node ~= ARGV[1] or incarnation ~= ARGV[2])) then
    return { 'lost', string.format('%.0f', epoch) }
end
redis.call('HSET', KEYS[1], 'node', ARGV[1], 'incarnation', ARGV[2], 'epoch', ARGV[4], 'key', ARGV[3],
    'live_until', string.format('%.0f', now + ARGV[5]), 'held_until', string.format('%.0f', now + ARGV[5] + ARGV[6]))
redis.call('PEXPIRE', KEYS[1], ARGV[7])
return { 'kept' }
