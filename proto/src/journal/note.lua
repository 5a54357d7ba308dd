-- Notes how far an endpoint is with one subject.
-- KEYS: delivered, of the endpoint.
-- ARGV: subject, event, most marks, ms that keys live.
local mark = 's ' .. ARGV[1]
local through, before = unpack(redis.call('HMGET', KEYS[1], 'through', mark))
if is_after(ARGV[2], through or '0-0') and is_after(ARGV[2], before or '0-0')
    and (before or redis.call('HLEN', KEYS[1]) < tonumber(ARGV[3])) then
    redis.call('HSET', KEYS[1], mark, ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return { 'noted' }
