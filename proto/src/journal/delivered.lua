-- Tells how far an endpoint is: through which event, and of which subjects through which later ones.
-- KEYS: delivered, of the endpoint.
-- ARGV: ms that keys live.
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local marks = redis.call('HGETALL', KEYS[1])
local through, beyond = '0-0', {}
for index = 1, #marks, 2 do
    if marks[index] == 'through' then
        through = marks[index + 1]
    else
        -- What is after 's '.
        table.insert(beyond, string.sub(marks[index], 3))
        table.insert(beyond, marks[index + 1])
    end
end
return { through, beyond }
