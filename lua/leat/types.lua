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

---@alias leat.Headers table<string, string|number|boolean>

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
---@field queue_timeout? number seconds to wait in queues and pauses; default: no limit, in nginx timeout
---@field max_attempts? integer how often an operation is sent at most; default: 3; 0: until timeout
---@field retry_budget? integer|false the retry budget of all calls of the client; default: 100; false: none
---@field retry_base? number seconds: the limit of the first backoff; default: 0.5
---@field retry_cap? number seconds: the largest limit of a backoff; default: 20
---@field rate? number requests per second; default: no limit
---@field shared? string in nginx: the name of a lua_shared_dict that all workers share
---@field fleet? leat.Fleet in nginx, with shared and rate: several machines share the rate through Redis
---@field account? string with shared and token, or limiter: a name for the account of the tokens, or of the rate
---@field limiter? leat.Limiter gives slots of a rate that processes share, also on several machines
---@field cache? boolean|leat.CacheOptions serves finds from memory; default: false
---@field on_attempt? fun(attempt: leat.Attempt) a hook that is called after every exchange
---@field show_values? boolean true: attempts include the cards' values; default: false
---@field json? boolean true: info.json is the response's data as JSON text; default: false
---@field max_connections? integer default: 16
---@field max_body? integer bytes: the largest response; default: 1 MiB
---@field ca_file? string a PEM file of the certificates to trust; default: the system's
---@field proxy? string the URL of a proxy, or "" for none; default: from the environment
---@field user_agent? string default: leat/VERSION
---@field headers? leat.Headers|fun(): leat.Headers? headers that are added to every request, or to those of a call
---@field blocking? boolean false: a call outside of tasks raises an error; default: true
---@field driver? leat.Driver|table performs the I/O
---@field transport? fun(request: leat.Request): any, any, any performs requests instead of a driver

---@class leat.Fleet
---@field machines integer how many machines share the rate
---@field host? string the host of Redis; required without connect
---@field port? integer default: 6379
---@field user? string default: the default user
---@field password? string default: none
---@field tls? boolean true: TLS, with a certificate that is verified; default: false
---@field timeout? number seconds within which Redis must respond; default: 0.2
---@field connect? fun(): table?, string? returns a client of Redis that is connected, or nil and the reason

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
---@field status? integer the HTTP status; nil: the last request had no response
---@field message string what happened and what to do, for people
---@field fields? table<string, string[]> the fields that validation refused, with messages
---@field operation string such as "contact_identifiers.find"
---@field sent "no"|"maybe" whether the request may have been received
---@field outcome_unknown boolean true: the change may or may not have been applied; find the card, then decide
---@field attempts integer the number of exchanges that were begun
---@field retry_after? number seconds after which to try again, as the service or the client's pause says
---@field card? leat.ContactIdentifier for a conflict: the card that contradicts the request
---@field where? string the line of the leat.assert that raised the error

---@class leat.Info
---@field status? integer the HTTP status
---@field attempts integer the number of exchanges that were begun
---@field meta? table what the service sent besides the data; nil if there is nothing
---@field outcome? "recovered"|"created"|"existed" recovered: the response to a change was lost; the rest: by ensure
---@field changed? ("linked"|"named")[] how ensure completed a card that existed
---@field rate_limit? leat.RateLimit the rate limit that the service reported
---@field json? string the response's data as JSON text, with the option json
---@field cached? "fresh"|"stale" the card comes from the cache
---@field age? number seconds since the service sent the card that comes from the cache
---@field err? leat.Error why the service could not be asked for a stale card

---@class leat.CacheOptions
---@field ttl? number seconds for which a card is fresh; default: 60
---@field negative_ttl? number seconds for which it is kept that there is no such card; default: 5
---@field grace? number seconds after ttl in which a card is handed out and refreshed behind; default: 0
---@field stale? number seconds after ttl in which a card is handed out if the service does not respond; default: 0
---@field most? integer how many cards are kept; default: 10000
---@field dict? string in nginx: the name of a lua_shared_dict for the cards of all workers

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
---@param options? {query?: table<string, string|number|boolean>, headers?: leat.Headers, body?: table|string}
---@return any data
---@return leat.Error? err
---@return leat.Info? info
function Client:request(method, path, options) end

---@class leat.WithOptions
---@field timeout? number as for leat.new
---@field connect_timeout? number as for leat.new
---@field queue_timeout? number as for leat.new
---@field max_attempts? integer as for leat.new
---@field maybe_applied? boolean true: every change may have been applied before; default: false

---Returns a view of the client, with the same connections, token and limits, but other settings.
---@param options leat.WithOptions
---@return leat.Client
function Client:with(options) end

---Returns the rate limit that the service last reported, and the current pause.
---@return leat.RateLimit?
function Client:rate_limit() end

---Returns how often finds were served from the cache, and how often not; nil without a cache.
---@return table<string, integer>?
function Client:cache_stats() end

---Returns whether the client works, as far as it is known from its calls.
---@return leat.Health
function Client:health() end

---@class leat.Health
---@field ok boolean false: the last call failed less than a minute ago, or all calls fail because of a long pause
---@field last_success? number how many seconds ago a call last worked
---@field last_failure? number how many seconds ago a call last failed
---@field kind? leat.Kind the kind of that failure
---@field paused? number seconds until the end of the current pause

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
---@param options? { max_age?: number } seconds that a cached card may be old
---@return leat.ContactIdentifier? card
---@return leat.Error? err
---@return leat.Info? info
function Cards:find(value, options) end

---Forgets what is cached about a card, because another program has changed it.
---@param value string
function Cards:forget(value) end

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

-- ---- jobs ---------------------------------------------------------------------------------

---@class leat.jobs
local jobs = {}

---Opens a journal, and makes it if it does not exist.
---@param path? string a file, or postgres://...; default: leat/jobs.db in $XDG_STATE_HOME or ~/.local/state
---@return leat.JobStore?
---@return leat.JobError? err
function jobs.open(path) end

---Opens a journal that is gone when it is closed.
---@return leat.JobStore?
---@return leat.JobError? err
function jobs.open_temporary() end

---Returns a string that identifies the account of a client. It is requested once for each client.
---@param client leat.Client
---@return string? account
---@return leat.Error? err
function jobs.account(client) end

---Reads the header of a CSV file, for the option `csv` of `store:plan`.
---@param read fun(): string?, string? returns the next part of the file; nil at its end; nil and a message on failure
---@param operation leat.JobOperation
---@param mapping? table<string, string> the file's own headers by the names of columns
---@return leat.JobFile?
---@return string? message
function jobs.csv(read, operation, mapping) end

---@alias leat.JobOperation
---| "ensure"
---| "create"
---| "link"
---| "unlink"
---| "update"
---| "delete"
---| "find"

---@alias leat.JobState
---| "planned"
---| "running"
---| "interrupted" its process died
---| "stopped"
---| "paused"
---| "finished"

---@class leat.JobFile
---@field used { name: string, header: string }[] the columns that are used
---@field unused string[] the other headers
---@field warnings string[] columns that may be misspelt
---@field lengths table after the plan, its method `unusual` returns the usual length of values, and the others

---An error of the journal, of rows that cannot be planned, or of an account that does not fit.
---@class leat.JobError
---@field kind string "journal", "invalid_input" or "account"; or a kind of leat.Error
---@field message string
---@field code? integer|string SQLite's code, or PostgreSQL's
---@field job? integer the job that runs, if another process works on the journal

---@class leat.JobRow
---@field value string
---@field name? string for ensure, create and update
---@field contact_uuid? string for ensure, create and link
---@field contact_email? string instead of contact_uuid
---@field active? boolean for update
---@field expect? string|false for unlink, update and delete: the contact that must own the card; false: none

---@class leat.JobStore
local JobStore = {}

---Plans a job: stores its rows. If there is a job that does the same with the same rows, that one is returned.
---@param options leat.PlanOptions
---@return leat.Job?
---@return boolean|leat.JobError|leat.Error earlier true: the job was planned before
function JobStore:plan(options) end

---@param id integer
---@return leat.Job? job nil if there is none
---@return leat.JobError? err
function JobStore:job(id) end

---Returns all jobs, the oldest first.
---@return leat.Job[]?
---@return leat.JobError? err
function JobStore:jobs() end

---Returns whether a process works on the journal.
---@return boolean?
---@return leat.JobError? err
function JobStore:is_busy() end

---Returns true if no process works on the journal.
---@return boolean?
---@return leat.JobError? err
function JobStore:check_free() end

---Removes the jobs that finished more than 30 days ago.
---@return boolean?
---@return leat.JobError? err
function JobStore:remove_old() end

---Closes the journal.
function JobStore:close() end

---@class leat.PlanOptions
---@field operation? leat.JobOperation default: "ensure"
---@field rows? leat.JobRow[]|fun(): leat.JobRow? the rows, or a function that returns the next one
---@field csv? leat.JobFile instead of rows: a file, as jobs.csv returns it
---@field file? string the path of that file, for results
---@field client? leat.Client the service is asked for its account, to which the job belongs
---@field account? string instead of client, with base_url
---@field base_url? string instead of client: the server that the job is for
---@field name? string what to call the job; default: the operation
---@field again? boolean true: a new job even if there is one with the same rows; default: false

---@class leat.Job
---@field id integer
---@field name string
---@field operation leat.JobOperation
---@field account string for which the job is; "": for any
---@field base_url string the server that the job is for; "": any
---@field file? string
---@field state leat.JobState
---@field reason? string why it is paused, why no rows are processed at present, or "verify_stopped"
---@field rows integer
---@field done integer
---@field failed integer
---@field unknown integer
---@field rejected integer
---@field skipped integer
---@field unprocessed integer
---@field waiting integer unprocessed rows that were tried, and wait to be tried again
---@field requests integer
---@field created integer milliseconds since 1970
---@field finished? integer milliseconds since 1970
---@field worker_count integer in PostgreSQL: how many processes work on it
local Job = {}

---Works on the job until it is finished, paused or stopped. Blocks.
---@param client leat.Client
---@param options? leat.RunOptions
---@return leat.JobSummary?
---@return leat.JobError? err
function Job:run(client, options) end

---Begins to work on the job, in a tick or an event loop: call the run's `step` now and then.
---@param client leat.Client
---@param options? leat.RunOptions
---@return leat.Run?
---@return leat.JobError? err
function Job:start(client, options) end

---Returns the processes that work on the job, if the journal is in PostgreSQL.
---@return leat.JobWorker[]?
---@return leat.JobError? err
function Job:workers() end

---Asks the processes that work on the job to stop.
---@return boolean?
---@return leat.JobError? err
function Job:stop() end

---Lets rows that failed or are unknown be processed by the next run.
---@param options? leat.RetryOptions
---@return integer? count
---@return leat.JobError? err
function Job:retry(options) end

---Forgets which rows were verified, so that a run with `only_verify` and `verify` verifies all of them again.
---@return boolean?
---@return leat.JobError? err
function Job:forget_verified() end

---Iterates over the rows.
---@param states? string[] only rows that are in one of these states
---@return fun(): leat.JobResult?
function Job:results(states) end

---Writes the results as CSV files.
---@param folder? string default: that of the file, or the current one; made if it is missing
---@return table<string, string>? paths by name
---@return leat.JobError? err
function Job:write_results(folder) end

---Estimates how many requests the rows that are left need.
---@return integer? least
---@return integer|leat.JobError most
function Job:estimate() end

---Reads the fields of the job again.
---@return leat.Job?
---@return leat.JobError? err
function Job:refresh() end

---Returns how many rows a run with `only_verify` and `verify` would verify.
---@return integer?
---@return leat.JobError? err
function Job:count_to_verify() end

---Removes the job and all that the journal contains of it.
---@return boolean?
---@return leat.JobError? err
function Job:remove() end

---@class leat.JobWorker
---@field id integer
---@field host? string the name of its computer
---@field pid? integer
---@field started integer milliseconds since 1970
---@field seen integer when it extended its lease for the last time, in milliseconds since 1970
---@field seen_ago number how many seconds ago that was
---@field rows integer how many rows it has claimed

---@class leat.RunOptions
---@field concurrency? integer rows that are processed at a time; default: 8
---@field max_failures? number so many failed rows, or such a share below 1, pause the job; 0: never; default: 0.05
---@field settle? number seconds for which a request whose response was lost may take effect; default: 30
---@field lease? number seconds for which rows are claimed; default: 60
---@field probe? number seconds between two attempts while the service does not respond; default: 30
---@field verify? boolean true: all rows are found once more at the end; default: false
---@field only_verify? boolean true: only verifies; default: false
---@field on_event? fun(what: "outage"|"outage_over"|"unverified", detail: leat.JobEvent)
---@field progress? fun(progress: leat.JobProgress) only of `run`
---@field progress_every? number seconds between two reports of progress; default: 1

---@class leat.JobEvent
---@field kind? string the kind of the error
---@field message string
---@field value? string the card that could not be seen

---@class leat.RetryOptions
---@field failed? boolean default: true
---@field unknown? boolean default: true

---@class leat.Run
local Run = {}

---Does what can be done now, and never waits for the service.
---@return leat.JobSummary? summary nil while the run goes on
function Run:step() end

---In PostgreSQL, cancels the requests for rows whose leases have ended. Call it between a wait and `tasks.poll`.
function Run:check_leases() end

---Stops claiming rows. The requests under way end first: call `step` until it returns the summary.
function Run:stop() end

---Ends the run at once, and cancels the requests under way.
function Run:abandon() end

---@return leat.JobProgress
function Run:progress() end

---@class leat.JobProgress
---@field rows integer
---@field done integer
---@field failed integer
---@field unknown integer
---@field rejected integer
---@field skipped integer
---@field unprocessed integer
---@field seconds number the time since the start of the run
---@field rate number rows per second
---@field waiting integer unprocessed rows that were tried, and wait to be tried again
---@field eta? number the estimated number of seconds that are left; nil: unknown
---@field failing? string the kind of the last temporary error, if no request has succeeded since
---@field outage? string the kind of error because of which no rows are processed at present
---@field phase "items"|"settling"|"verifying"|"ended"
---@field verified integer how many cards have been verified
---@field to_verify integer how many cards there are to verify; 0 before they are counted

---@class leat.JobSummary
---@field state leat.JobState
---@field kind? string why the job is paused or stopped
---@field message? string
---@field job leat.Job
---@field seconds number
---@field verified integer cards that were found once more
---@field changed integer how many of them were no longer as the job had left them
---@field unverified integer cards that could not be verified
---@field to_verify integer how many cards there were to verify
---@field stored boolean false: results of the last requests could not be stored
---@field is_last boolean false: in PostgreSQL, another process ended the job, or goes on

---@class leat.JobResult
---@field n integer
---@field line integer
---@field value? string
---@field arguments table the other columns
---@field bytes? string the row as it was in the file
---@field state string
---@field outcome string
---@field kind? string
---@field code? integer
---@field message? string
---@field requests integer
---@field at? integer milliseconds since 1970
---@field before? table the card before an unlink or a delete
---@field seen table the card as it was last seen
---@field changed? string "linked", "named" or both, separated by a blank

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

---Makes the driver's descriptor readable also while another one is: see leat.driver.
---@param fd integer
function Driver:watch(fd) end

---Continues a call that has its slot: see leat.driver.
function Driver:resume() end

---@class leat.limiter
local limiter = {}

---Makes a limiter whose slots are in a store.
---@param store table see leat.limiter
---@return leat.Limiter
function limiter.new(store) end

---@class leat.Limiter
local Limiter = {}

---Closes the limiter and its store. Calls that need a slot fail from then on.
function Limiter:close() end

---Returns what the clients of an account share. leat.new calls it.
---@param options table
---@return table? account
---@return string? wrong
function Limiter:account_for(options) end

---Waits for the store or a timer, and gives slots to calls.
---@param seconds number
function Limiter:step(seconds) end

---Returns whether no call waits for a slot.
---@return boolean
function Limiter:is_idle() end

---Returns a descriptor that is readable when `step` has something to do.
---@return integer
function Limiter:fd() end

---@class leat.postgres
local postgres = {}

---Makes a limiter whose slots are in PostgreSQL.
---@param options { db: string }
---@return leat.Limiter
function postgres.limiter(options) end

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

-- ---- metrics ------------------------------------------------------------------------------

---@class leat.prometheus
---@field content_type string for the header Content-Type
local prometheus = {}

---Renders what clients have counted, in Prometheus' text format.
---@param clients leat.Client|{ client: leat.Client, labels?: table<string, string> }[]
---@param options? { labels?: table<string, string> } for one client
---@return string
function prometheus.text(clients, options) end

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

---Restores the state that the sandbox started with.
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
