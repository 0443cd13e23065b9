---@meta leat.types
-- What editors know of the library (LuaCATS, for lua-language-server): nothing of this is run.
-- The words stand in the modules themselves; spec/types_spec.lua sees that no name is missing.

-- ---- leat -------------------------------------------------------------------------------

---@class leat
---@field _VERSION string
---@field null any null inside arrays, and where one is to be sent
local leat = {}

---Makes a client; nothing is sent yet.
---@param given leat.Options
---@return leat.Client
function leat.new(given) end

---Like `assert`, but keeps the error's fields where Lua can show them.
---@generic T
---@param value T?
---@param err leat.Error|any
---@return T, ...
function leat.assert(value, err, ...) end

---@class leat.Options
---@field api_key? string the key from the dashboard
---@field access_token? string one of OAuth
---@field client_id? string
---@field client_secret? string
---@field token? fun(): string?, (number|string)? gives a token and for how many seconds, or nil and why not
---@field token_url? string where tokens are fetched: /oauth/token on the origin of base_url
---@field base_url? string with its path
---@field allow_http? boolean cleartext to other machines
---@field timeout? number seconds of a whole call: 30
---@field connect_timeout? number seconds: 5
---@field queue_timeout? number seconds in line
---@field max_attempts? integer 3; 0: until timeout
---@field retry_budget? integer|false of all calls of the client: 100
---@field retry_base? number seconds: 0.5
---@field retry_cap? number seconds: 20
---@field rate? number calls a second
---@field shared? string in nginx: the name of a lua_shared_dict, for all workers
---@field account? string with shared and token: whose tokens they are
---@field on_attempt? fun(attempt: leat.Attempt)
---@field show_values? boolean on_attempt is told the cards' values
---@field max_connections? integer 16
---@field max_body? integer bytes: 1 MiB
---@field ca_file? string certificates to trust, PEM
---@field proxy? string its URL, or "" for none
---@field user_agent? string
---@field headers? table<string, string|number|boolean>
---@field blocking? boolean false: a call outside of tasks is a mistake
---@field driver? leat.Driver|table
---@field transport? fun(request: leat.Request): any, any, any

---@class leat.Attempt
---@field operation string
---@field purpose "call"|"verify"|"token"
---@field attempt integer
---@field kind? leat.Kind nil: it went well
---@field code? integer
---@field status? integer
---@field sent "no"|"maybe"
---@field reused boolean
---@field milliseconds number
---@field wait_milliseconds? number
---@field value? string

---@alias leat.Kind
---| "not_found"
---| "inactive"
---| "already_exists"
---| "already_linked"
---| "not_linked"
---| "contact_not_found"
---| "invalid_input"
---| "unauthorized"
---| "forbidden"
---| "quota_reached"
---| "rate_limited"
---| "maintenance"
---| "server"
---| "api"
---| "conflict"
---| "connection"
---| "tls"
---| "timeout"
---| "protocol"
---| "too_large"
---| "redirect"
---| "canceled"
---| "config"
---| "local"
---| "no_memory"

---@class leat.Error
---@field kind leat.Kind
---@field code? integer the API's number
---@field status? integer of HTTP
---@field message string for people
---@field fields? table<string, string[]> what validation refused
---@field operation string
---@field sent "no"|"maybe"
---@field outcome_unknown boolean find it, then decide
---@field attempts integer
---@field retry_after? number seconds
---@field card? leat.ContactIdentifier of a conflict: what contradicts
---@field where? string the line of the leat.assert that raised it

---@class leat.Info
---@field status? integer
---@field attempts integer
---@field meta? table what the service says beside the data; nil if that is nothing
---@field outcome? "recovered"|"created"|"existed"
---@field rate_limit? leat.RateLimit

---@class leat.RateLimit
---@field limit? integer
---@field remaining? integer
---@field paused? number seconds that the service asked to wait
---@field kind? "rate_limited"|"maintenance" why it is paused

-- ---- clients ----------------------------------------------------------------------------

---@class leat.Client
---@field contact_identifiers leat.ContactIdentifiers
local Client = {}

---Whose key it is.
---@return table? company
---@return leat.Error? err
---@return leat.Info? info
function Client:check() end

---Asks any other endpoint of the API.
---@param method string
---@param path string behind that of base_url
---@param given? { query?: table<string, string|number|boolean>, headers?: table<string, string>, body?: table|string }
---@return any data
---@return leat.Error? err
---@return leat.Info? info
function Client:request(method, path, given) end

---The same connections, token and limits, other settings.
---@param given { timeout?: number, connect_timeout?: number, max_attempts?: integer }
---@return leat.Client
function Client:with(given) end

---What the service said last of its rate.
---@return leat.RateLimit?
function Client:rate_limit() end

function Client:close() end

-- ---- contact identifiers ------------------------------------------------------------------

---@class leat.CreateOptions
---@field name? string
---@field contact_uuid? string

---@class leat.UpdateOptions
---@field name? string
---@field active? boolean
---@field expect? string|false the contact that the card must belong to

---@class leat.ExpectOptions
---@field expect? string|false the contact that the card must belong to; false: to none

---@class leat.ListOptions
---@field contact_uuid string

---@class leat.Contact
---@field uuid string
---@field email? string

---@class leat.ContactIdentifier
---@field value string
---@field name? string
---@field active? boolean
---@field contact? leat.Contact
local Card = {}

---@param contact_uuid string
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Card:link(contact_uuid) end

---@param options? leat.ExpectOptions
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Card:unlink(options) end

---@param options leat.UpdateOptions
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Card:update(options) end

---@param options? leat.ExpectOptions
---@return true? deleted
---@return leat.Error? err
---@return leat.Info? info
function Card:delete(options) end

---@class leat.ContactIdentifiers
local Cards = {}

---@param value string
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Cards:find(value) end

---@param value string
---@param options? leat.CreateOptions
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Cards:create(value, options) end

---Creates a card, or adopts one that is there and nobody else's.
---@param value string
---@param options? leat.CreateOptions
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Cards:ensure(value, options) end

---@param value string
---@param contact_uuid string
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Cards:link(value, contact_uuid) end

---@param value string
---@param options? leat.ExpectOptions
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Cards:unlink(value, options) end

---@param value string
---@param options leat.UpdateOptions
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Cards:update(value, options) end

---@param value string
---@param options? leat.ExpectOptions
---@return true? deleted
---@return leat.Error? err
---@return leat.Info? info
function Cards:delete(value, options) end

---All cards of one contact.
---@param options leat.ListOptions
---@return leat.ContactIdentifier[]? cards
---@return leat.Error? err
---@return leat.Info? info
function Cards:list(options) end

---Makes a card of a table that came out of a cache.
---@param fields table
---@return leat.ContactIdentifier
function Cards:wrap(fields) end

-- ---- tasks --------------------------------------------------------------------------------

---@class leat.tasks
local tasks = {}

---@param f function
---@return leat.Task
function tasks.spawn(f, ...) end

---Does what can be done now; never blocks.
---@param budget? number seconds
---@return integer left
function tasks.poll(budget) end

---Waits until all tasks are done.
function tasks.run() end

---@param values any[]|fun(): any
---@param f fun(value: any): any, any
---@param given? leat.EachOptions
---@return leat.Progress
function tasks.each(values, f, given) end

---@param values any[]|fun(): any
---@param f fun(value: any): any, any
---@param given? leat.EachOptions
---@return table results
---@return table errors
---@return leat.Progress
function tasks.map(values, f, given) end

function tasks.cancel() end

---@return leat.Task?
function tasks.current() end

---@param loop { watch: fun(driver: leat.Driver), unwatch: fun(driver: leat.Driver), soon: fun() }
function tasks.attach(loop) end

---For drivers.
---@return "task"|"outside"|"inside"
function tasks.place() end

---For drivers.
---@return boolean
function tasks.carry(driver, call, hooks) end

---For drivers.
function tasks.tell(entry, news) end

---For drivers.
function tasks.step(driver, seconds) end

---For drivers.
function tasks.close(driver) end

---@class leat.EachOptions
---@field concurrency? integer 16
---@field in_order? fun(value: any, ...)
---@field progress? fun(progress: leat.Progress)
---@field progress_every? number seconds: 1
---@field total? integer

---@class leat.Progress
---@field done integer
---@field failed integer
---@field retried integer
---@field total? integer
---@field seconds number
---@field rate number
---@field eta? number

---@class leat.Task
local Task = {}

---@return any ...
function Task:wait() end

function Task:cancel() end

---For the scheduler.
function Task:give_up() end

-- ---- drivers ------------------------------------------------------------------------------

---@class leat.curl
---@field version string
local curl = {}

---@param given? { ca_file?: string, proxy?: string, max_connections?: integer }
---@return leat.Driver?
---@return string? wrong
function curl.new(given) end

---@class leat.Driver
local Driver = {}

---@param call any
---@param hooks? table
---@return string? refused
function Driver:perform(call, hooks) end

---One descriptor to watch.
---@return integer
function Driver:fd() end

---@return number? seconds
function Driver:timeout() end

function Driver:close() end

---@return integer
function Driver:pollfd() end

---@return integer
function Driver:getfd() end

---@return string
function Driver:events() end

---@return boolean
function Driver:dirty() end

---For leat.tasks.
function Driver:drop(call) end

---For leat.tasks.
function Driver:step(seconds) end

---For leat.tasks.
function Driver:give_token(call, hooks) end

---For leat.tasks.
function Driver.wait_for(drivers, seconds) end

---@class leat.Request
---@field method string
---@field url string
---@field headers table<string, string>
---@field body string
---@field timeout number seconds

---@class leat.transport
local transport = {}

---@param f fun(request: leat.Request): any, any, any
---@param of? { now?: fun(): number, number, sleep?: fun(seconds: number) }
---@return table driver
function transport.new(f, of) end

---@class leat.recorder
local recorder = {}

---@param answers? table[]
---@return { driver: table, requests: leat.Request[], waits: number[], answers: table[] }
function recorder.new(answers) end

-- ---- the sandbox ----------------------------------------------------------------------------

---@class leat.sandbox
local sandbox = {}

---@param given? leat.SandboxOptions
---@return leat.Sandbox?
---@return string? why
function sandbox.start(given) end

---@class leat.SandboxOptions
---@field contacts? { uuid: string, email?: string, more?: table }[]
---@field cards? { value: string, name?: string, contact_uuid?: string, active?: boolean }[]
---@field faults? leat.Fault[]
---@field api_key? string
---@field client_id? string|integer
---@field client_secret? string
---@field token_lifetime? number seconds
---@field meta? string JSON, or "absent"
---@field rate_limit? integer
---@field rate_window? number seconds
---@field idempotent_unlink? boolean
---@field tls? boolean
---@field port? integer

---@alias leat.SandboxOperation
---| "find"|"create"|"link"|"unlink"|"update"|"delete"|"list"|"check"|"token"
---| "contacts.get"|"contacts.find_one_by"|"contacts.find_or_create"|"contacts.create_anonymous"

---@class leat.Fault
---@field operation? leat.SandboxOperation
---@field value? string
---@field nth? integer
---@field times? number
---@field kind? string
---@field code? integer
---@field status? integer
---@field headers? table<string, string|number>
---@field body? string
---@field retry_after? integer
---@field delay? number
---@field close? "before"|"within"
---@field apply? boolean
---@field apply_after? number
---@field lag? number
---@field stale? boolean

---@class leat.Sandbox
---@field url string
---@field token_url string
---@field ca_file? string
---@field api_key string
---@field client_id string
---@field client_secret string
local Sandbox = {}

---@param given leat.Fault
---@return integer number
function Sandbox:fault(given) end

function Sandbox:clear_faults() end

function Sandbox:expire_tokens() end

function Sandbox:reset() end

---@param value string
---@return table?
function Sandbox:card(value) end

---@return table[]
function Sandbox:cards() end

---@param operation? string
---@return table[]
function Sandbox:requests(operation) end

---@param until_eof? boolean
function Sandbox:serve(until_eof) end

function Sandbox:stop() end
