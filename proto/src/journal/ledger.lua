-- The rules of the journal: what of a fact is news.
-- KEYS: log, subjects, asserted, runs, idle.
-- ARGV: ms that a fact counts, most events, ms to remember, most subjects that are idle, most runs of a node, ms that keys live.
local log, subjects, asserted, runs, idle = unpack(KEYS)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local until_ms, remembered = now + ARGV[1], tonumber(ARGV[3])

local function text(number)
    return string.format('%.0f', number)
end

local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
newest = newest and newest[1] or '0-0'
local told = ''

-- Every event names the one before, so that whoever reads finds out what has been forgotten.
local function tell(kind, sequence, channel, epoch, node, reason, role)
    local ms, number = parts(newest)
    if now > ms then
        told = text(now) .. '-0'
    else
        told = text(ms) .. '-' .. text(number + 1)
    end
    redis.call('XADD', log, 'MAXLEN', ARGV[2], told, 'type', kind, 'sequence', text(sequence), 'channel', channel,
        'epoch', epoch, 'node', node, 'reason', reason, 'role', role, 'after', newest)
    newest = told
end

local function forget(subject)
    redis.call('HDEL', subjects, subject)
    redis.call('ZREM', idle, subject)
end

local function load(subject)
    local since = tonumber(redis.call('ZSCORE', idle, subject) or nil)
    if since and since + remembered <= now then
        forget(subject)
        return nil
    end
    return redis.call('HGET', subjects, subject) or nil
end

-- From now on it may be forgotten. Of too many the one that has not changed for longest is.
local function rests(subject)
    redis.call('ZADD', idle, now, subject)
    if redis.call('ZCARD', idle) > tonumber(ARGV[4]) then
        forget(redis.call('ZRANGE', idle, 0, 0)[1])
    end
end

-- Notes that something is so for another while; tells whether it was not.
local function assert_so(member)
    if redis.call('ZADD', asserted, until_ms, member) == 0 then
        return false
    end
    redis.call('ZADD', runs, 0, member)
    return true
end

local function retract(member)
    redis.call('ZREM', runs, member)
    return redis.call('ZREM', asserted, member) == 1
end

-- Of a channel: how many watch it, its last publication, and how that is: 'none', 'up', 'limp', 'lost' (it may turn out to
-- run, and so may one of which nothing was told yet), 'over'.
local function load_channel(name)
    local channel = { name = name, sequence = 0, watchers = 0, epoch = '0', phase = 'none', node = '-', run = '-' }
    local known = load('c ' .. name)
    if known then
        local sequence, watchers
        sequence, watchers, channel.epoch, channel.phase, channel.node, channel.run =
            string.match(known, '^(%d+) (%d+) (%d+) (%a+) (%S+) (%S+)$')
        channel.sequence, channel.watchers = tonumber(sequence), tonumber(watchers)
    end
    return channel
end

local function is_open(channel)
    return channel.phase == 'up' or channel.phase == 'limp'
end

local function save_channel(channel)
    local subject = 'c ' .. channel.name
    redis.call('HSET', subjects, subject, table.concat({ text(channel.sequence), text(channel.watchers), channel.epoch,
        channel.phase, channel.node, channel.run }, ' '))
    if is_open(channel) or channel.watchers > 0 then
        redis.call('ZREM', idle, subject)
    else
        rests(subject)
    end
end

local function tell_of_channel(channel, kind, epoch, node, reason, role)
    channel.sequence = channel.sequence + 1
    tell(kind, channel.sequence, channel.name, epoch, node, reason, role)
end

local function tell_of_publication(channel, kind, reason)
    tell_of_channel(channel, kind, channel.epoch, channel.node, reason, '')
end

local function finish(channel, reason)
    tell_of_publication(channel, 'channel.ended', reason)
    channel.phase = reason == 'lost' and 'lost' or 'over'
    retract(channel.node .. ' ' .. channel.run .. ' p ' .. channel.name)
end

-- Whether a publication is to be heard of, and whether it is a new one. A newer one than was known ends the one that was.
local function meet(channel, epoch, node, run)
    local known, spoken = tonumber(channel.epoch), tonumber(epoch)
    if spoken < known or (spoken == known and (channel.node ~= node or channel.run ~= run)) then
        return false, false
    end
    if spoken == known then
        return true, false
    end
    if is_open(channel) then
        finish(channel, 'replaced')
    end
    channel.epoch, channel.node, channel.run, channel.phase = epoch, node, run, 'lost'
    return true, true
end

local function runs_on(name, epoch, node, run, phase)
    local channel = load_channel(name)
    if not meet(channel, epoch, node, run) or channel.phase == 'over' then
        return
    end
    local was = channel.phase
    if was == 'lost' then
        tell_of_publication(channel, 'channel.started', '')
        channel.phase = 'up'
    end
    if channel.phase ~= phase then
        tell_of_publication(channel, phase == 'up' and 'channel.resumed' or 'channel.stalled', '')
        channel.phase = phase
    end
    assert_so(node .. ' ' .. run .. ' p ' .. name)
    if channel.phase ~= was then
        save_channel(channel)
    end
end

local function ended(name, epoch, node, run, reason)
    local channel = load_channel(name)
    local heard, is_new = meet(channel, epoch, node, run)
    if not heard then
        return
    end
    local was = channel.phase
    if is_new then
        tell_of_publication(channel, 'channel.started', '')
        channel.phase = 'up'
    end
    if is_open(channel) then
        finish(channel, reason)
    elseif reason ~= 'lost' then
        channel.phase = 'over'
    end
    if is_new or channel.phase ~= was then
        save_channel(channel)
    end
end

local function watched(name, node, run)
    if not assert_so(node .. ' ' .. run .. ' w ' .. name) then
        return
    end
    local channel = load_channel(name)
    channel.watchers = channel.watchers + 1
    if channel.watchers == 1 then
        tell_of_channel(channel, 'receivers.first', '', node, '', '')
    end
    save_channel(channel)
end

local function unwatched(name, node, run)
    if not retract(node .. ' ' .. run .. ' w ' .. name) then
        return
    end
    local channel = load_channel(name)
    -- A Redis that evicts keys may have forgotten the one and not the other.
    if channel.watchers == 0 then
        return
    end
    channel.watchers = channel.watchers - 1
    if channel.watchers == 0 then
        tell_of_channel(channel, 'receivers.last', '', node, '', '')
    end
    save_channel(channel)
end

-- Nobody says this any more, or whoever did is gone.
local function gone(member)
    local node, run, what, name = string.match(member, '^(%S+) (%S+) (%a) (%S+)$')
    if what == 'w' then
        return unwatched(name, node, run)
    end
    local channel = load_channel(name)
    if is_open(channel) and channel.node == node and channel.run == run then
        finish(channel, 'lost')
        save_channel(channel)
    else
        retract(member)
    end
end

-- Of a node: how the run is that counts, and the runs that it came after, it first.
local function load_node(name)
    local node = { name = name, sequence = 0, phase = 'none', runs = {} }
    local known = load('n ' .. name)
    if known then
        local sequence, listed
        sequence, node.phase, listed = string.match(known, '^(%d+) (%a+) ?(.*)$')
        node.sequence = tonumber(sequence)
        for run in string.gmatch(listed, '%S+') do
            table.insert(node.runs, run)
        end
    end
    return node
end

local function save_node(node)
    local subject = 'n ' .. node.name
    local known = table.concat({ text(node.sequence), node.phase, unpack(node.runs) }, ' ')
    redis.call('HSET', subjects, subject, known)
    -- Nodes are idle all the time: one that nobody has spoken of for so long is forgotten, however it was.
    rests(subject)
end

local function tell_of_node(node, kind, reason)
    node.sequence = node.sequence + 1
    tell(kind, node.sequence, '', '', node.name, reason, '')
end

local function node_is(name, run, state)
    local node = load_node(name)
    local comes = state == 'in_service' or state == 'draining'
    if node.runs[1] ~= run then
        -- A run that was there before, or one that nobody was told of and that is over: the present one is another.
        for _, other in ipairs(node.runs) do
            if other == run then
                return
            end
        end
        if not comes and node.runs[1] then
            return
        end
        if node.phase == 'up' or node.phase == 'limp' then
            tell_of_node(node, 'node.lost', '')
        end
        table.insert(node.runs, 1, run)
        node.runs[tonumber(ARGV[5]) + 1] = nil
        node.phase = 'none'
    end
    if comes then
        if node.phase == 'over' then
            return
        end
        if node.phase == 'lost' or node.phase == 'none' then
            tell_of_node(node, 'node.joined', '')
            node.phase = 'up'
        elseif node.phase == 'limp' and state == 'in_service' then
            tell_of_node(node, 'node.joined', 'undrained')
            node.phase = 'up'
        end
        if state == 'draining' and node.phase == 'up' then
            tell_of_node(node, 'node.draining', '')
            node.phase = 'limp'
        end
    else
        if node.phase ~= 'lost' and node.phase ~= 'over' then
            tell_of_node(node, 'node.' .. state, '')
            node.phase = 'lost'
        end
        if state == 'left' then
            node.phase = 'over'
        end
    end
    save_node(node)
end

local function refused(name, node_name, reason, role)
    if name ~= '' then
        local channel = load_channel(name)
        tell_of_channel(channel, 'admission.refused', '', node_name, reason, role)
        save_channel(channel)
    else
        local node = load_node(node_name)
        node.sequence = node.sequence + 1
        tell('admission.refused', node.sequence, '', '', node_name, reason, role)
        save_node(node)
    end
end

-- Everything lives as long as anything is said.
local function keep()
    for _, key in ipairs(KEYS) do
        redis.call('PEXPIRE', key, ARGV[6])
    end
end

