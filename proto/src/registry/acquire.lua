-- Grants the lease of a channel, or tells who has it.
-- KEYS: lease, bans.
-- ARGV: node, incarnation, key hash, epoch of the lease to replace (0: none), epoch to exceed, ms to live, ms of grace,
--       ms to remember.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local node, incarnation, epoch, key, live, held =
    unpack(redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch', 'key', 'live_until', 'held_until'))
epoch, live, held = tonumber(epoch) or 0, tonumber(live) or 0, tonumber(held) or 0

local banned = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[3]) or 0)
if banned > now then
    return { 'banned', string.format('%.0f', banned - now) }
end

local replaces = epoch > 0 and tonumber(ARGV[4]) == epoch
if held > now and (key ~= ARGV[3] or (live > now and not replaces)) then
    return { 'taken', node, incarnation, string.format('%.0f', epoch), key,
        string.format('%.0f', math.max(live - now, 0)), string.format('%.0f', held - now) }
end

-- The clock makes an epoch that is greater than any before, even when the registry has lost its memory. In microseconds:
-- no channel is granted more often than once in one, so epochs never run ahead of the clock that has to outrun them.
local clock = time[1] * 1000000 + time[2]
local granted = string.format('%.0f', math.max(clock, epoch + 1, tonumber(ARGV[5]) + 1))
redis.call('HSET', KEYS[1], 'node', ARGV[1], 'incarnation', ARGV[2], 'epoch', granted, 'key', ARGV[3],
    'live_until', string.format('%.0f', now + ARGV[6]), 'held_until', string.format('%.0f', now + ARGV[6] + ARGV[7]))
redis.call('PEXPIRE', KEYS[1], ARGV[8])
return { 'granted', granted }
