---@meta leat.types
-- Annotations for editors (LuaCATS, for lua-language-server). Nothing of this is run. The modules themselves
-- hold the full documentation; spec/types_spec.lua checks that no name is missing here.

-- ---- leat -------------------------------------------------------------------------------

---@class leat
---@field _VERSION string
---@field null any JSON null, inside arrays and in bodies that are sent
local leat = {}

---Makes a client. It neither connects nor sends anything yet.
---@param options leat.Options
---@return leat.Client
function leat.new(options) end

---Makes a client with options that are completed from the environment: LEAT_API_KEY, LEAT_BASE_URL, ...
---@param options? leat.Options|{ api_key_file?: string }
---@return leat.Client
function leat.from_env(options) end

---Like `assert`, but keeps the fields of the error: raises `err` itself; on Lua 5.1 and LuaJIT, its text.
---@generic T
---@param value T?
---@param err leat.Error|any
---@return T, ...
function leat.assert(value, err, ...) end

---@class leat.Options
---@field api_key? string the key from the dashboard
---@field access_token? string an OAuth access token
---@field client_id? string the id for client credentials, with client_secret
---@field client_secret? string the secret of client_id
---@field token? fun(): string?, (number|string)? returns a token and its lifetime in seconds, or nil and the reason
---@field token_url? string the URL of the token endpoint; default: /oauth/token on the origin of base_url
---@field base_url? string the URL of the API, including its path
---@field allow_http? boolean true: allows cleartext http to other machines; default: false
---@field timeout? number seconds for a whole call; default: 30
---@field connect_timeout? number seconds for making one connection; default: 5
---@field queue_timeout? number seconds to wait for the rate limiter or a pause; default: no limit, in nginx timeout
---@field max_attempts? integer how often an operation is sent at most; default: 3; 0: until timeout
---@field retry_budget? integer|false the retry budget of all calls of the client; default: 100; false: none
---@field retry_base? number seconds: the limit of the first backoff; default: 0.5
---@field retry_cap? number seconds: the largest limit of a backoff; default: 20
---@field rate? number calls per second; default: no limit
---@field shared? string in nginx: the name of a lua_shared_dict that all workers share
---@field account? string with shared and token: a name for the account of the tokens
---@field on_attempt? fun(attempt: leat.Attempt) a hook that is called after every exchange
---@field show_values? boolean true: attempts include the cards' values; default: false
---@field json? boolean true: info.json is the response's data as JSON text; default: false
---@field max_connections? integer default: 16
---@field max_body? integer bytes: the largest response; default: 1 MiB
---@field ca_file? string a PEM file of the certificates to trust; default: the system's
---@field proxy? string the URL of a proxy, or "" for none; default: from the environment
---@field user_agent? string default: leat/VERSION
---@field headers? table<string, string|number|boolean> headers that are added to every request
---@field blocking? boolean false: a call outside of tasks raises an error; default: true
---@field driver? leat.Driver|table performs the I/O
---@field transport? fun(request: leat.Request): any, any, any performs requests instead of a driver

---@class leat.Attempt
---@field operation string such as "contact_identifiers.create"
---@field purpose "call"|"verify"|"token" the purpose of the exchange
---@field attempt integer the number of the exchange within its call, from 1
---@field kind? leat.Kind nil: the exchange succeeded
---@field code? integer the API's error code
---@field status? integer the HTTP status
---@field sent "no"|"maybe" whether the request may have been received
---@field reused boolean true: an existing connection was reused
---@field milliseconds number the duration, including connecting
---@field wait_milliseconds? number the wait before the next exchange; nil: this was the last
---@field value? string the card's value, with show_values

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
---@field code? integer the API's error code
---@field status? integer the HTTP status; nil: no response arrived
---@field message string what happened and what to do, for people
---@field fields? table<string, string[]> the fields that validation refused, with messages
---@field operation string such as "contact_identifiers.find"
---@field sent "no"|"maybe" whether the request may have been received
---@field outcome_unknown boolean true: the change may or may not have been applied; find the card, then decide
---@field attempts integer the number of exchanges that were begun
---@field retry_after? number seconds that the service asked to wait
---@field card? leat.ContactIdentifier for a conflict: the card that contradicts the request
---@field where? string the line of the leat.assert that raised the error

---@class leat.Info
---@field status? integer the HTTP status
---@field attempts integer the number of exchanges that were begun
---@field meta? table what the service sent beside the data; nil if there is nothing
---@field outcome? "recovered"|"created"|"existed" recovered: the response to a change was lost; the rest: by ensure
---@field changed? ("linked"|"named")[] how ensure completed a card that existed
---@field rate_limit? leat.RateLimit the rate limit that the service reported
---@field json? string the response's data as JSON text, with the option json

---@class leat.RateLimit
---@field limit? integer calls that the service allows
---@field remaining? integer calls that are left
---@field paused? number seconds until the end of the current pause
---@field kind? "rate_limited"|"maintenance" the reason of the pause

-- ---- clients ----------------------------------------------------------------------------

---@class leat.Client
---@field contact_identifiers leat.ContactIdentifiers
local Client = {}

---Returns the account that the key belongs to.
---@return table? company
---@return leat.Error? err
---@return leat.Info? info
function Client:check() end

---Sends a request to any other endpoint of the API.
---@param method string the HTTP method
---@param path string appended to the path of base_url
---@param options? {query?: table<string, string|number|boolean>, headers?: table<string, string>, body?: table|string}
---@return any data
---@return leat.Error? err
---@return leat.Info? info
function Client:request(method, path, options) end

---Returns a view of the client, with the same connections, token and limits, but other settings.
---@param options { timeout?: number, connect_timeout?: number, max_attempts?: integer, maybe_applied?: boolean }
---@return leat.Client
function Client:with(options) end

---Returns the rate limit that the service last reported, and the current pause.
---@return leat.RateLimit?
function Client:rate_limit() end

---Closes the client, and its connections unless their driver was given as an option.
function Client:close() end

-- ---- contact identifiers ------------------------------------------------------------------

---@class leat.CreateOptions
---@field name? string default, set by the service: the card's value
---@field contact_uuid? string the contact to link the card to

---@class leat.UpdateOptions
---@field name? string
---@field active? boolean
---@field expect? string|false the contact that the card must belong to; false: none

---@class leat.ExpectOptions
---@field expect? string|false the contact that the card must belong to; false: none

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

---Links the card to a contact.
---@param contact_uuid string
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Card:link(contact_uuid) end

---Unlinks the card from its contact.
---@param options? leat.ExpectOptions
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Card:unlink(options) end

---Changes the card's name, or activates or deactivates it.
---@param options leat.UpdateOptions
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Card:update(options) end

---Deletes the card.
---@param options? leat.ExpectOptions
---@return true? deleted
---@return leat.Error? err
---@return leat.Info? info
function Card:delete(options) end

---@class leat.ContactIdentifiers
local Cards = {}

---Finds a card.
---@param value string
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Cards:find(value) end

---Creates a card.
---@param value string
---@param options? leat.CreateOptions
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Cards:create(value, options) end

---Creates a card, or links and names an existing one that has no other contact or name.
---@param value string
---@param options? leat.CreateOptions
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Cards:ensure(value, options) end

---Links a card to a contact.
---@param value string
---@param contact_uuid string
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Cards:link(value, contact_uuid) end

---Unlinks a card from its contact.
---@param value string
---@param options? leat.ExpectOptions
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Cards:unlink(value, options) end

---Changes a card's name, or activates or deactivates it.
---@param value string
---@param options leat.UpdateOptions
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Cards:update(value, options) end

---Deletes a card.
---@param value string
---@param options? leat.ExpectOptions
---@return true? deleted
---@return leat.Error? err
---@return leat.Info? info
function Cards:delete(value, options) end

---Lists all cards of one contact.
---@param options leat.ListOptions
---@return leat.ContactIdentifier[]? cards
---@return leat.Error? err
---@return leat.Info? info
function Cards:list(options) end

---Checks the arguments of an operation, but sends nothing.
---@param operation string such as "find" or "ensure"
---@return true? accepted
---@return string? wrong
function Cards:validate(operation, ...) end

---Rebuilds a card from a table of its fields, such as cached data.
---@param fields table with `value`, at least
---@return leat.ContactIdentifier
function Cards:wrap(fields) end

-- ---- the environment ----------------------------------------------------------------------

---@class leat.environment
local environment = {}

---Completes options from the environment, as leat.from_env does, but makes no client.
---@param options? leat.Options|{ api_key_file?: string }
---@return leat.Options?
---@return string? wrong
function environment.read(options) end

---Returns the requests per second: those given, or LEAT_RATE.
---@param given? number
---@return number? rate nil: no limit
---@return string? wrong
function environment.rate(given) end

-- ---- tasks --------------------------------------------------------------------------------

---@class leat.tasks
local tasks = {}

---Starts a task, and runs `f(...)` up to its first call.
---@param f function
---@return leat.Task
function tasks.spawn(f, ...) end

---Does what can be done now. Never blocks without `budget`.
---@param budget? number seconds to go on for while calls are under way
---@return integer left the number of tasks that are not done
function tasks.poll(budget) end

---Waits until all tasks are done.
function tasks.run() end

---Calls `f` with each value, concurrently in tasks.
---@param values any[]|fun(): any
---@param f fun(value: any): any, any
---@param options? leat.EachOptions
---@return leat.Progress
function tasks.each(values, f, options) end

---Like `each`, and collects the first two results of `f` in tables.
---@param values any[]|fun(): any
---@param f fun(value: any): any, any
---@param options? leat.EachOptions
---@return table results by the index of the value
---@return table errors by the index of the value
---@return leat.Progress
function tasks.map(values, f, options) end

---Cancels all tasks.
function tasks.cancel() end

---Returns the running task.
---@return leat.Task?
function tasks.current() end

---Attaches an event loop, which then performs the calls of tasks.
---@param loop { watch: fun(driver: leat.Driver), unwatch: fun(driver: leat.Driver), soon: fun() }
function tasks.attach(loop) end

---@class leat.EachOptions
---@field concurrency? integer calls of the function under way at a time; default: 16
---@field in_order? fun(value: any, ...) receives each value and its results, in the order of the values
---@field progress? fun(progress: leat.Progress) receives the progress, during the iteration and at its end
---@field progress_every? number seconds between two reports of progress; default: 1
---@field total? integer the number of values; default: the length of a list

---@class leat.Progress
---@field done integer values that are done, including those that failed
---@field failed integer values for which the function returned nil or false
---@field retried integer exchanges beyond the first one of each call
---@field total? integer the number of values; nil: unknown
---@field seconds number the time since the start
---@field rate number values per second
---@field eta? number the estimated number of seconds that are left; nil: unknown

---@class leat.Task
local Task = {}

---Waits until the task is done, and returns the results of its function, or raises its error.
---@return any ...
function Task:wait() end

---Cancels the task's call, and every call that the task makes from now on.
function Task:cancel() end

-- ---- drivers ------------------------------------------------------------------------------

---@class leat.curl
---@field version string
local curl = {}

---Makes a driver on libcurl.
---@param options? { ca_file?: string, proxy?: string, max_connections?: integer }
---@return leat.Driver?
---@return string? wrong
function curl.new(options) end

---@class leat.Driver
local Driver = {}

---Performs a call until it is done.
---@param call any
---@param hooks? table
---@return string? refused the reason why the call cannot be made here
function Driver:perform(call, hooks) end

---Returns the descriptor to watch for reading. It never changes, and also signals timers.
---@return integer
function Driver:fd() end

---Returns the time until `tasks.poll()` must be called although the descriptor is not readable.
---@return number? seconds
function Driver:timeout() end

---Closes the driver and its connections. Calls that are under way end as canceled.
function Driver:close() end

---The same as `fd`, for cqueues.
---@return integer
function Driver:pollfd() end

---The same as `fd`, for LuaSocket's `select`.
---@return integer
function Driver:getfd() end

---For cqueues: the events to watch the descriptor for.
---@return string
function Driver:events() end

---For LuaSocket's `select`: whether there is something to do at once.
---@return boolean
function Driver:dirty() end

---Starts a call: see leat.driver.
---@return boolean is_under_way
function Driver:start(call, entry) end

---Returns whether no call is under way: see leat.driver.
---@return boolean
function Driver:is_idle() end

---Calls `hooks.attempts` in each step from now on: see leat.driver.
function Driver:observe(hooks) end

---Cancels a call: see leat.driver.
function Driver:cancel(call) end

---Waits for I/O or a timer, handles it, and reports the events of calls: see leat.driver.
function Driver:step(seconds) end

---Calls the client's token function, and gives its token to the call: see leat.driver.
function Driver:give_token(call, hooks) end

---@class leat.Request
---@field method string
---@field url string
---@field headers table<string, string> by name
---@field body string may be empty
---@field timeout number seconds until the deadline of the exchange

---@class leat.transport
local transport = {}

---Makes a driver from a transport function.
---@param f fun(request: leat.Request): any, any, any
---@param of? { now?: fun(): number, number, sleep?: fun(seconds: number) }
---@return table driver
function transport.new(f, of) end

---@class leat.recorder
local recorder = {}

---Makes a recorder: a driver with scripted responses, which records the requests.
---@param script? table[] a list of entries
---@return { driver: table, requests: leat.Request[], waits: number[], script: table[] }
function recorder.new(script) end

-- ---- the sandbox ----------------------------------------------------------------------------

---@class leat.sandbox
local sandbox = {}

---Starts a sandbox.
---@param options? leat.SandboxOptions
---@return leat.Sandbox?
---@return string? why
function sandbox.start(options) end

---@class leat.SandboxOptions
---@field contacts? { uuid: string, email?: string, more?: table }[]
---@field cards? { value: string, name?: string, contact_uuid?: string, active?: boolean }[]
---@field faults? leat.Fault[]
---@field api_key? string the key that is accepted; default: "sandbox"
---@field client_id? string|integer default: "sandbox-client"
---@field client_secret? string default: "sandbox-secret"
---@field token_lifetime? number seconds; default: 3600
---@field meta? string the meta of responses, as JSON, or "absent"; default: "[]"
---@field rate_limit? integer requests in each window; default: no limit
---@field rate_window? number seconds; default: 60
---@field idempotent_unlink? boolean true: unlinking a card that is not linked succeeds; default: false
---@field tls? boolean true: HTTPS, with a certificate of its own; default: false
---@field port? integer 0: any; default: 0

---@alias leat.SandboxOperation
---| "find"|"create"|"link"|"unlink"|"update"|"delete"|"list"|"check"|"token"
---| "contacts.get"|"contacts.find_one_by"|"contacts.find_or_create"|"contacts.create_anonymous"

---@class leat.Fault
---@field operation? leat.SandboxOperation default: every request
---@field value? string the value of a card; default: every card
---@field nth? integer the first relevant request that it matches, from 1; default: it is queued
---@field times? number how many requests it matches, or math.huge; default: 1
---@field kind? string the error that a client reports
---@field code? integer an error code of the API
---@field status? integer an HTTP status
---@field headers? table<string, string|number> headers that are added or replaced
---@field body? string replaces the body of the response
---@field retry_after? integer seconds in a Retry-After header
---@field delay? number seconds by which the response is delayed, or math.huge
---@field close? "before"|"within" closes the connection before the response, or inside its body
---@field apply? boolean true: performs the request in spite of the fault
---@field apply_after? number seconds after which the request is performed in spite of the fault
---@field lag? number a find or list shows the state as it was so many seconds ago
---@field stale? boolean true: a find or list shows the state as it was when the fault was added

---@class leat.Sandbox
---@field url string
---@field token_url string
---@field ca_file? string
---@field api_key string
---@field client_id string
---@field client_secret string
local Sandbox = {}

---Adds a fault.
---@param fault leat.Fault
---@return integer number the fault's number
function Sandbox:fault(fault) end

---Removes all faults.
function Sandbox:clear_faults() end

---Expires all tokens that the token endpoint has issued.
function Sandbox:expire_tokens() end

---Restores the state of the start.
function Sandbox:reset() end

---Returns a card as the API would show it.
---@param value string
---@return table?
function Sandbox:card(value) end

---Returns all cards, the oldest first.
---@return table[]
function Sandbox:cards() end

---Returns the requests that were received so far.
---@param operation? string only requests of this operation
---@return table[]
function Sandbox:requests(operation) end

---Waits until the process receives SIGINT or SIGTERM.
---@param until_eof? boolean true: returns at the end of standard input, too
function Sandbox:serve(until_eof) end

---Stops the sandbox at once.
function Sandbox:stop() end
