-- Tells how far an endpoint is: through which event, and of which subjects through which later ones.
-- KEYS: delivered.
-- ARGV: endpoint, ms that keys live.
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local marks = redis.call('HGETALL', KEYS[1])
local through, beyond = '0-0', {}
local start = ARGV[1] .. ' '
for index = 1, #marks, 2 do
    local mark = marks[index]
    if mark == ARGV[1] then
        through = marks[index + 1]
    elseif string.sub(mark, 1, #start) == start then
        table.insert(beyond, string.sub(mark, #start + 1))
        table.insert(beyond, marks[index + 1])
    end
end
return { through, beyond }
