-- Of identifiers of events, MS-NUMBER.
local function parts(id)
    local ms, number = string.match(id, '^(%d+)-(%d+)$')
    return tonumber(ms), tonumber(number)
end

local function is_after(id, other)
    local ms, number = parts(id)
    local other_ms, other_number = parts(other)
    return ms > other_ms or (ms == other_ms and number > other_number)
end

