-- Notes how far an endpoint is with one subject.
-- KEYS: delivered.
-- ARGV: endpoint, subject, event, most marks, ms that keys live.
local mark = ARGV[1] .. ' ' .. ARGV[2]
local through, before = unpack(redis.call('HMGET', KEYS[1], ARGV[1], mark))
if is_after(ARGV[3], through or '0-0') and is_after(ARGV[3], before or '0-0')
    and (before or redis.call('HLEN', KEYS[1]) < tonumber(ARGV[4])) then
    redis.call('HSET', KEYS[1], mark, ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return { 'noted' }
