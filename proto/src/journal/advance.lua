-- Notes through which event an endpoint is, and lets go of what that makes needless. It never goes back.
-- KEYS: delivered, of the endpoint.
-- ARGV: event, ms that keys live.
local through = redis.call('HGET', KEYS[1], 'through') or '0-0'
if is_after(ARGV[1], through) then
    through = ARGV[1]
    redis.call('HSET', KEYS[1], 'through', through)
end
local marks = redis.call('HGETALL', KEYS[1])
for index = 1, #marks, 2 do
    if marks[index] ~= 'through' and not is_after(marks[index + 1], through) then
        redis.call('HDEL', KEYS[1], marks[index])
    end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return { 'advanced' }
