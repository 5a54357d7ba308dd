-- Says that a node has receivers for a channel, and tells who publishes and which keys are banned.
-- KEYS: lease, bans, demand.
-- ARGV: node (empty: only look), ms to live (0: no receivers any more).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] ~= '' then
    redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
    if tonumber(ARGV[2]) > 0 then
        redis.call('ZADD', KEYS[3], now + ARGV[2], ARGV[1])
        -- Of several nodes the one that stays longest decides.
        if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[2]) then
            redis.call('PEXPIRE', KEYS[3], ARGV[2])
        end
    else
        redis.call('ZREM', KEYS[3], ARGV[1])
    end
end
local node, incarnation, epoch, key, live, held =
    unpack(redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch', 'key', 'live_until', 'held_until'))
local lease = {}
if epoch then
    lease = { node, incarnation, epoch, key, string.format('%.0f', math.max(live - now, 0)),
        string.format('%.0f', math.max(held - now, 0)) }
end
local bans = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now, '+inf', 'WITHSCORES')
for index = 2, #bans, 2 do
    bans[index] = string.format('%.0f', bans[index] - now)
end
local wanted = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. now, '+inf')
return { lease, bans, wanted }
