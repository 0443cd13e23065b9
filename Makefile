# leat: a C core (libleat) and the Lua module on top of it.   GNU make.
#
#   make                  the Lua modules for $(LUA), in build/, and the command in build/$(LUA)/bin
#   make test             the C tests, then the specs under $(LUA)
#   make test-all-luas    the specs under each of $(ALL_LUAS)
#   make test-poll        the driver's tests, with poll instead of epoll
#   make test-hosts       in event loops, Neovim and a game's server
#   make test-jobs        jobs whose processes are killed, whose disk is full, and so on; and leat import
#   make test-postgres    with a server of PostgreSQL, also behind pgbouncer
#   make test-nginx       in a real nginx
#   make asan             the C tests under AddressSanitizer and UBSan
#   make tsan             threads under ThreadSanitizer
#   make valgrind         the C tests under valgrind
#   make asan-lua valgrind-lua     the specs under the same tools; asan-postgres those with PostgreSQL
#   make torture          makes each allocation fail in turn: TORTURE="lua5.4" under that Lua, core from C
#   make coverage         which lines and branches the tests run, into build/coverage
#   make fuzz             each fuzz target for $(FUZZ_SECONDS) seconds
#   make model            $(MODEL_N) random operations of two clients, and some over sockets, against a model
#   make soak             $(SOAK_N) values through tasks.each, and $(SOAK_CLI_N) through the leat command: none
#                         lost, memory flat
#   make soak-jobs        kills jobs at every point of their runs, thousands of times: nothing lost, nothing sent twice
#   make soak-postgres    up to $(STORM_N) rows of each operation; processes are killed, stopped and cut off
#   make soak-nginx       $(SOAK_NGINX_N) requests in nginx, to a service that fails: none wrong, nothing lost
#   make canary           the tests with a new key and secret, then a search for them in all output
#   make nightly          everything, which takes hours; PART=luas runs one part of it
#   make test-platforms   the core without I/O on 32-bit ARM, arm64, s390x and musl
#   make mutants          breaks the library on purpose, and checks that tests fail
#   make bench            what a find costs, compared with libcurl, bare sockets and packaged peers
#   make bench-nginx      a handler in nginx that finds a card, compared with a handwritten one
#   make bench-jobs       loading a file of cards, compared with sqlite3, and what the journal costs a run
#   make lint             words of comments, formatters and static analysis, over everything
#   make analyze          gcc's and clang's analyzers, which take longer
#   make purity           proves that the core has no I/O, no globals and no Lua, and that no files call each
#                         other in a cycle
#   make exports          proves that the libraries and the modules export what is public, and nothing else
#   make doc              the site, build/doc: guides and reference, for Lua and C; complete, without dead links
#   make pictures         draws docs/pictures/bench.svg from the bench's figures, and files.svg from the
#                         object files
#   make install          the C library, the modules and the command, below $(PREFIX), or $(DESTDIR)$(PREFIX)
#   make install-core     the C library alone
#   make install-lua      the modules alone, into INST_LUADIR and INST_LIBDIR
#   make install-command  the command alone, for $(LUA), with its manual page and completions for shells
#   make uninstall        removes what install installed
#   make release VERSION=0.1.0    the rockspecs of a release, into build/release
#   make clean
#
#   LUA=lua5.4            the interpreter to build for: lua5.1 ... lua5.5, luajit
#   eval "$(make -s env LUA=lua5.4)"     sets LUA_PATH and LUA_CPATH to run the build tree
#
# To list the missing packages: sh rockspec/deps.sh check

LUA        ?= lua5.4
PREFIX     ?= /usr/local
PKG_CONFIG ?= pkg-config
INSTALL    ?= install
FUZZ_SECONDS ?= 20
# The number of tests or checks that run at once, if they are separate programs.
JOBS ?= 2

# LuaRocks gives the folder of the headers instead of a name. 5.5 computes LUA_VERSION_NUM from others.
ifneq ($(LUA_INCDIR),)
  lua_number  := $(shell echo $$(($$(echo LUA_VERSION_NUM | $(CC) -E -P -include "$(LUA_INCDIR)/lua.h" -I"$(LUA_INCDIR)" - | tail -n 1))))
  lua_jit     := $(if $(wildcard $(LUA_INCDIR)/luajit.h),luajit)
  override LUA := $(or $(lua_jit),lua$(subst 50,5.,$(lua_number)))
  LUA_CFLAGS  ?= -I"$(LUA_INCDIR)"
endif
LUA_CFLAGS  ?= $(shell $(PKG_CONFIG) --cflags $(LUA))
LUA_LIBS    ?= $(shell $(PKG_CONFIG) --libs $(LUA))
LUA_ABI     := $(if $(filter luajit%,$(LUA)),5.1,$(LUA:lua%=%))
INST_LUADIR ?= $(PREFIX)/share/lua/$(LUA_ABI)
INST_LIBDIR ?= $(PREFIX)/lib/lua/$(LUA_ABI)

comma := ,
# The compiler may find a library that pkg-config does not know.
pc = $(or $(shell $(PKG_CONFIG) $(1) 2>/dev/null),$(2))
CURL_CFLAGS    := $(call pc,--cflags libcurl)
CURL_LIBS      := $(call pc,--libs libcurl,-lcurl)
JANSSON_CFLAGS := $(call pc,--cflags jansson)
JANSSON_LIBS   := $(call pc,--libs jansson,-ljansson)
MHD_CFLAGS     := $(call pc,--cflags libmicrohttpd)
MHD_LIBS       := $(call pc,--libs libmicrohttpd,-lmicrohttpd)
SQLITE_CFLAGS  := $(call pc,--cflags sqlite3)
SQLITE_LIBS    := $(call pc,--libs sqlite3,-lsqlite3)
POSTGRES_CFLAGS := $(call pc,--cflags libpq)
POSTGRES_LIBS  := $(call pc,--libs libpq,-lpq)
GNUTLS_CFLAGS  := $(call pc,--cflags gnutls)
GNUTLS_LIBS    := $(call pc,--libs gnutls,-lgnutls)

CFLAGS   ?= -O2 -g
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wpedantic
STANDARD := -std=c11 -D_DEFAULT_SOURCE
# CFLAGS and CPPFLAGS stay as the caller gave them: make would export them, with what is added
# here, to the makes that it starts, which would add it once more and compile all anew.
C_FLAGS   = $(CFLAGS) $(STANDARD) -fPIC -fvisibility=hidden -fno-semantic-interposition $(WARNINGS)
CPP_FLAGS = $(CPPFLAGS) -Icore -Icore/curl -Icore/sandbox $(CURL_CFLAGS) $(JANSSON_CFLAGS) $(MHD_CFLAGS) $(SQLITE_CFLAGS) $(POSTGRES_CFLAGS)
LIBFLAG ?= -shared
# Threads of libcurl's resolver may outlive the interpreter: the module stays mapped.
MODULE  := $(LIBFLAG) -Wl,--exclude-libs,ALL -Wl,-z,nodelete -Wl,-Bsymbolic

BUILD := build
B := $(BUILD)/core
M := $(BUILD)/$(LUA)
T := $(BUILD)/test

# PURE is the protocol, without I/O. The driver on libcurl and the sandbox are separate.
CURL     := $(wildcard core/curl/*.c)
SANDBOX  := $(wildcard core/sandbox/*.c)
PURE     := $(wildcard core/*.c)
PURE_OBJ := $(PURE:core/%.c=$(B)/%.o)
CURL_OBJ := $(CURL:core/%.c=$(B)/%.o)
SANDBOX_OBJ := $(SANDBOX:core/%.c=$(B)/%.o)

# The Lua modules; those of the sandbox, of jobs and of PostgreSQL are separate rocks.
SANDBOX_LUA    := lua/leat/sandbox.lua
SANDBOX_MODULE := $(M)/leat/sandbox/core.so
POSTGRES_LUA := lua/leat/postgres.lua
JOBS_LUA     := $(wildcard lua/leat/csv.lua lua/leat/jobs.lua lua/leat/jobs/*.lua)
JOBS_MODULES := $(M)/leat/sqlite/core.so $(M)/leat/csv/core.so $(M)/leat/jobs/core.so
POSTGRES_MODULE := $(M)/leat/postgres/core.so
LUA_SRC  := lua/leat.lua $(filter-out $(SANDBOX_LUA) $(JOBS_LUA) $(POSTGRES_LUA),$(wildcard lua/leat/*.lua))
MODULES  := $(M)/leat/core.so $(M)/leat/curl/core.so
CLI_LUA    := $(wildcard lua/leat/cli/*.lua)
CLI_MODULE := $(M)/leat/cli/core.so
# The command is a program for this interpreter. The modules can be built without one.
lua_program := $(shell command -v $(LUA))

# The sandbox is for tests, and the library does not need it. (Versions of make differ in whether
# "#" must be escaped inside a function.)
hash := \#
# $(call has,HEADER...)
has = $(shell printf '$(hash)include <%s>\n' $(1) | $(CC) $(CPP_FLAGS) -E - >/dev/null 2>&1 && echo yes)
has_sandbox := $(call has,microhttpd.h jansson.h)
has_sqlite  := $(call has,sqlite3.h)
has_postgres := $(call has,libpq-fe.h)
parts     := leat cli $(if $(has_sandbox),sandbox) $(if $(has_sqlite),jobs) $(if $(has_postgres),postgres)
LIBRARIES := libleat $(if $(has_sandbox),libleat_sandbox)

.PHONY: force all lua tests tools test test-core test-poll test-driver test-headers test-c-examples test-lua test-hosts test-jobs test-postgres test-nginx test-all-luas asan-build asan asan-lua asan-postgres tsan-build tsan valgrind valgrind-lua torture torture-c torture-lua fuzz-build fuzz mutants nightly test-platforms bench bench-nginx bench-jobs lint purity exports env libraries lua-leat lua-cli lua-sandbox lua-jobs lua-postgres install install-core install-command install-lua install-lua-leat install-lua-cli install-lua-sandbox install-lua-jobs install-lua-postgres uninstall release clean help model soak soak-postgres soak-nginx canary doc pictures analyze coverage
.SECONDARY:
all: lua
lua: $(parts:%=lua-%) $(if $(lua_program),$(M)/bin/leat)
	$(if $(has_sandbox),@:,@echo no libmicrohttpd and jansson with headers: built without leat.sandbox)
	$(if $(has_sqlite),@:,@echo no SQLite with headers: built without leat.jobs)
	$(if $(has_postgres),@:,@echo no libpq with headers: built without leat.postgres)
lua-leat: $(MODULES)
lua-sandbox: $(SANDBOX_MODULE)
lua-cli: $(CLI_MODULE)
lua-jobs: $(JOBS_MODULES)
lua-postgres: $(POSTGRES_MODULE)

# Objects that were compiled with other flags are compiled again.
FLAGS := $(BUILD)/flags
$(FLAGS): force
	@mkdir -p $(@D)
	@echo '$(CC) $(CPP_FLAGS) $(C_FLAGS)' | cmp -s - $@ || echo '$(CC) $(CPP_FLAGS) $(C_FLAGS)' >$@

$(B)/%.o: core/%.c $(FLAGS)
	@mkdir -p $(@D)
	$(CC) $(CPP_FLAGS) $(C_FLAGS) -MMD -MP -c $< -o $@

$(M)/%.o: lua/%.c $(FLAGS)
	@mkdir -p $(@D)
	$(CC) $(CPP_FLAGS) $(LUA_CFLAGS) $(C_FLAGS) -MMD -MP -c $< -o $@

# It contains the driver too. Programs that do not call the driver do not link it, and need no libcurl.
$(BUILD)/libleat.a: $(PURE_OBJ) $(CURL_OBJ)
$(BUILD)/libleat_sandbox.a: $(SANDBOX_OBJ)
$(BUILD)/%.a:
	@rm -f $@
	$(AR) rcs $@ $^

# The soname of a shared library has the version of its interface. libleat_sandbox.so contains the parts
# of libleat that it needs, because they are not in the public headers.
SOVERSION := 0
SHARED = $(CC) -shared -Wl,-soname,$(@F) -Wl,-z,defs -Wl,--exclude-libs,ALL $(LDFLAGS) -o $@
$(BUILD)/libleat.so.$(SOVERSION): $(PURE_OBJ) $(CURL_OBJ)
	$(SHARED) $^ $(CURL_LIBS)
$(BUILD)/libleat_sandbox.so.$(SOVERSION): $(SANDBOX_OBJ) $(BUILD)/libleat.a
	$(SHARED) $^ $(MHD_LIBS) $(JANSSON_LIBS) -lpthread
libraries: $(LIBRARIES:%=$(BUILD)/%.a) $(LIBRARIES:%=$(BUILD)/%.so.$(SOVERSION))

# Each module contains its own copy of the shared objects.
SHARED_O  := $(addprefix $(M)/,binding.o options.o push.o)
CORE_O    := $(addprefix $(M)/,leat_core.o client.o operations.o call.o call_driver.o http1.o json.o digest.o poller.o)
CURL_O    := $(M)/leat_curl.o
SANDBOX_O := $(M)/leat_sandbox.o
JOBS_O    := $(M)/leat_sqlite.o $(M)/leat_csv.o $(M)/leat_jobs.o

$(M)/leat/core.so: $(CORE_O) $(SHARED_O) $(BUILD)/libleat.a
	@mkdir -p $(@D)
	$(CC) $(MODULE) $(LDFLAGS) -o $@ $^

$(M)/leat/curl/core.so: $(CURL_O) $(SHARED_O) $(BUILD)/libleat.a
	@mkdir -p $(@D)
	$(CC) $(MODULE) $(LDFLAGS) -o $@ $^ $(CURL_LIBS)

$(M)/leat/sandbox/core.so: $(SANDBOX_O) $(SHARED_O) $(BUILD)/libleat_sandbox.a $(BUILD)/libleat.a
	@mkdir -p $(@D)
	$(CC) $(MODULE) $(LDFLAGS) -o $@ $^ $(MHD_LIBS) $(JANSSON_LIBS)

$(M)/leat/sqlite/core.so: $(M)/leat_sqlite.o $(SHARED_O) $(BUILD)/libleat.a
	@mkdir -p $(@D)
	$(CC) $(MODULE) $(LDFLAGS) -o $@ $^ $(SQLITE_LIBS)

$(M)/leat/postgres/core.so: $(M)/leat_postgres.o $(SHARED_O) $(BUILD)/libleat.a
	@mkdir -p $(@D)
	$(CC) $(MODULE) $(LDFLAGS) -o $@ $^ $(POSTGRES_LIBS)

$(M)/leat/csv/core.so $(M)/leat/jobs/core.so: $(M)/leat/%/core.so: $(M)/leat_%.o $(SHARED_O) $(BUILD)/libleat.a
	@mkdir -p $(@D)
	$(CC) $(MODULE) $(LDFLAGS) -o $@ $^

$(CLI_MODULE): $(M)/leat_cli.o
	@mkdir -p $(@D)
	$(CC) $(MODULE) $(LDFLAGS) -o $@ $^

# $(call launcher,FILE,LUADIR,LIBDIR)
launcher = mkdir -p "$(dir $(1))" && $(LUA) rockspec/launcher.lua "$(1)" "$(lua_program)" "$(2)" "$(3)" && chmod 755 "$(1)"
$(M)/bin/leat: force
	@$(call launcher,$@,$(CURDIR)/lua,$(abspath $(M)))

# ---- running the build tree ------------------------------------------------------

# LUA_PATH_5_4 takes precedence over LUA_PATH if it is set, so set both.
suffix := $(if $(filter 5.1,$(LUA_ABI)),,_$(subst .,_,$(LUA_ABI)))
lua_path  = $(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;
lua_cpath = $(CURDIR)/$(M)/?.so;;
run_env   = LUA_PATH='$(lua_path)' LUA_CPATH='$(lua_cpath)' \
            LUA_PATH$(suffix)='$(lua_path)' LUA_CPATH$(suffix)='$(lua_cpath)'
env:
	@echo "export $(run_env)"

# ---- tests -----------------------------------------------------------------------

TESTS    := $(patsubst spec/core/%.c,$(T)/%,$(wildcard spec/core/*_test.c))
# What the tests share; names.o replaces the system's resolver, in the tests that link it.
SUPPORT  := $(filter-out %/slow_server.c %/catalogue_server.c %/terminal.c %/names.c %/system_calls.c %/kill_points.c %/trouble.c,$(wildcard spec/support/*.c))
TEST_OBJ := $(T)/libsupport.a $(BUILD)/libleat_sandbox.a
TEST_LIBS = $(CURL_LIBS) $(MHD_LIBS) $(GNUTLS_LIBS) $(JANSSON_LIBS) -lpthread
RUN_TEST ?=

COMPILE_TEST = $(CC) $(CPP_FLAGS) -Ispec/support $(GNUTLS_CFLAGS) $(C_FLAGS) -MMD -MP -c $< -o $@
$(T)/%.o: spec/core/%.c $(FLAGS)
	@mkdir -p $(@D)
	$(COMPILE_TEST)
$(T)/%.o: spec/support/%.c $(FLAGS)
	@mkdir -p $(@D)
	$(COMPILE_TEST)
$(T)/libsupport.a: $(SUPPORT:spec/support/%.c=$(T)/%.o)
	@rm -f $@
	$(AR) rcs $@ $^

# -rdynamic lets libcurl find the getaddrinfo of names.o.
$(TESTS) $(T)/differential: $(T)/%: $(T)/%.o $(TEST_OBJ) $(BUILD)/libleat.a
	$(CC) $(LDFLAGS) -rdynamic -o $@ $^ $(TEST_LIBS)
$(addprefix $(T)/,catalogue_test curl_test proxy_test tls_test): $(T)/names.o

# Servers for tests and benchmarks that are not in C.
$(T)/slow_server $(T)/catalogue_server: $(T)/%: $(T)/%.o $(T)/libsupport.a $(BUILD)/libleat.a
	$(CC) $(LDFLAGS) -o $@ $^ $(GNUTLS_LIBS) -lpthread

# Runs commands for the specs.
$(T)/terminal: $(T)/terminal.o
	$(CC) $(LDFLAGS) -o $@ $^

# Records and replaces calls of the system in the specs' child processes.
PRELOADED := $(addprefix $(T)/,system_calls.so kill_points.so trouble.so)
$(PRELOADED): %.so: %.o
	$(CC) -shared $(LDFLAGS) -o $@ $^

# Tests the driver as on systems without epoll.
test-poll:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/poll CPPFLAGS=-DLEAT_POLL test-driver
DRIVER_TESTS := $(patsubst %,$(T)/%_test,curl tls proxy threads)
test-driver: $(DRIVER_TESTS)
	@status=0; for test in $^; do $$test spec/cases || status=1; done; exit $$status

# Each public header compiles by itself, in C and in C++.
test-headers:
	@passed=0; for header in $(HEADERS); do \
	  for cc in "$(CC) -x c -std=c99" "$(CC) -x c -std=c11" "$(CXX) -x c++ -std=c++11"; do \
	    $$cc -Icore -Icore/curl -Wall -Wextra -Wconversion -Wshadow -pedantic -Werror -fsyntax-only $$header || exit 1; \
	    passed=$$((passed + 1)); \
	  done; done; \
	echo "headers: $$passed passed, 0 failed"
test-c-examples: lua
	@LUA=$(LUA) CC=$(CC) BUILD=$(BUILD) sh spec/support/c_examples.sh
# The tests intercept the allocations of our objects, and the functions that depend on the locale.
$(T)/memory_test: private override LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free
$(T)/json_test: private override LDFLAGS += -Wl,--wrap=malloc,--wrap=realloc \
  -Wl,--wrap=strtod,--wrap=snprintf,--wrap=__snprintf_chk
test: test-core test-lua
CORE_TESTS := $(TESTS) $(T)/differential
tests: $(CORE_TESTS)
# Failures are printed last, so that they are easy to find in a long log.
test-core: tests
	@rm -f $(T)/*.log $(T)/*.failed
	@printf '%s\n' $(CORE_TESTS) | xargs -P $(JOBS) -I TEST \
	  sh -c '$(RUN_TEST) TEST spec/cases >TEST.log 2>&1 || mv TEST.log TEST.failed'
	@for test in $(CORE_TESTS); do if [ -e $$test.log ]; then cat $$test.log; fi; done
	@! tail -n 40 $(T)/*.failed 2>/dev/null
tools: $(T)/terminal $(PRELOADED)
test-lua: lua tools
	$(run_env) LEAT_TOOLS=$(CURDIR)/$(T) $(RUN_LUA) $(LUA) spec/run.lua $(BUSTED_FLAGS)
MODEL_N ?= 100000
model: tests lua
	$(T)/model_test spec/cases $(MODEL_N)
	LEAT_OPERATIONS=1000 $(MAKE) -s --no-print-directory test-lua \
	  BUSTED_FLAGS="--filter=random spec/outcomes_spec.lua"
canary:
	@LUA=$(LUA) sh spec/support/canary.sh

# These specs need other programs: event loops, Neovim, a game's server.
HOST_SPECS ?= spec/hosts
test-hosts: lua $(T)/slow_server
	$(run_env) LEAT_TOOLS=$(CURDIR)/$(T) $(LUA) spec/run.lua --pattern=_host $(HOST_SPECS) $(BUSTED_FLAGS)

# These specs of jobs start many processes, and kill them.
JOB_SPECS ?= spec/jobs
test-jobs: lua tools
	$(run_env) LEAT_TOOLS=$(CURDIR)/$(T) $(LUA) spec/run.lua --pattern=_jobs $(JOB_SPECS) $(BUSTED_FLAGS)

# These specs start servers of PostgreSQL, and poolers. They wait for most of their time, so that some run beside each
# other, the longest ones first. LEAT_LIMITER_SECONDS=60 measures a shared rate for longer.
LONG_POSTGRES := $(patsubst %,spec/postgres/%_postgres.lua,jobs leases workers storm limiter)
POSTGRES_SPECS ?= $(LONG_POSTGRES) $(filter-out $(LONG_POSTGRES),$(wildcard spec/postgres/*_postgres.lua))
POSTGRES_AT_ONCE ?= 4
test-postgres: lua tools $(M)/forks.so
	@printf '%s\n' $(POSTGRES_SPECS) | $(run_env) LEAT_TOOLS=$(CURDIR)/$(T) xargs -P $(POSTGRES_AT_ONCE) -I {} \
	  sh -c 'status=0; text=$$("$$@" 2>&1) || status=1; printf "%s\n%s\n" {} "$$text"; exit $$status' sh \
	  $(RUN_LUA) $(LUA) spec/run.lua --pattern=_postgres {} $(BUSTED_FLAGS)

$(M)/forks.so: spec/postgres/forks.c $(FLAGS)
	@mkdir -p $(@D)
	$(CC) $(CPP_FLAGS) $(LUA_CFLAGS) $(C_FLAGS) -shared $(LDFLAGS) -o $@ $<

# nginx runs LuaJIT, whichever Lua runs the spec. LEAT_FLEET_SECONDS=30 measures the rate that machines share for
# longer.
NGINX_SPECS ?= spec/nginx
test-nginx: lua $(T)/catalogue_server
	@$(MAKE) -s --no-print-directory LUA=luajit lua
	$(run_env) LEAT_ROOT=$(CURDIR) LEAT_TOOLS=$(CURDIR)/$(T) LEAT_NGINX_MODULES=$(CURDIR)/$(BUILD)/luajit \
	  $(LUA) spec/run.lua --pattern=_nginx $(NGINX_SPECS) $(BUSTED_FLAGS)

SOAK_N ?= 1000000
SOAK_CLI_N ?= 10000
soak: lua $(T)/slow_server
	@$(run_env) LUA=$(LUA) LEAT_TOOLS=$(T) sh spec/soak/run.sh $(SOAK_N)
	@LEAT_VALUES=$(SOAK_CLI_N) LEAT_AWAY=5 $(MAKE) -s --no-print-directory test-lua \
	  BUSTED_FLAGS=spec/cli_load_spec.lua

# Kills jobs at every point of their runs, two specs at a time.
soak-jobs: lua tools
	@printf '%s\n' "unlink link update" "delete ensure create find" | xargs -P 2 -I OPERATIONS env LEAT_KILLS=OPERATIONS \
	  $(MAKE) -s --no-print-directory test-jobs JOB_SPECS=spec/jobs/kill_jobs.lua

# Processes on two machines, which are killed, stopped and cut off for half an hour, and a rate that they share.
STORM_N ?= 20000
soak-postgres:
	@LEAT_STORM=$(STORM_N) LEAT_LIMITER_SECONDS=60 $(MAKE) -s --no-print-directory test-postgres POSTGRES_AT_ONCE=1 \
	  POSTGRES_SPECS="$(addprefix spec/postgres/,storm_postgres.lua networks_postgres.lua limiter_postgres.lua)"

SOAK_NGINX_N ?= 100000
soak-nginx: lua
	@$(MAKE) -s --no-print-directory LUA=luajit lua
	@$(run_env) LEAT_ROOT=$(CURDIR) LEAT_NGINX_MODULES=$(CURDIR)/$(BUILD)/luajit $(LUA) spec/soak/nginx.lua $(SOAK_NGINX_N)
	@LEAT_READS=5000 $(MAKE) -s --no-print-directory test-nginx NGINX_SPECS=spec/nginx/cache_nginx.lua BUSTED_FLAGS=--filter=changed

# 5.1 and LuaJIT have the same module path, but separate builds.
ALL_LUAS ?= lua5.1 lua5.2 lua5.3 lua5.4 luajit
test-all-luas:
	@for lua in $(ALL_LUAS); do echo "$$lua:"; $(MAKE) -s --no-print-directory test-lua LUA=$$lua || exit 1; done

VALGRIND := valgrind -q --error-exitcode=99 --leak-check=full --suppressions=$(CURDIR)/spec/support/valgrind.supp \
  --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
IN_ASAN   = $(MAKE) --no-print-directory BUILD=$(BUILD)/asan LDFLAGS="$(SANITIZE)" \
  CFLAGS="-O1 -g -fno-omit-frame-pointer $(SANITIZE)"
asan-build:
	+@$(IN_ASAN) lua tests
asan: asan-build
	+@$(IN_ASAN) test-core RUN_TEST="env LEAT_SLOWNESS=3"
# Runs the specs under gcc's sanitizers, in an ordinary interpreter with instrumented modules. What
# only LuaJIT's own memory points to counts as a leak, so leaks are looked for in the other Luas.
asan-lua: asan-build
	+@$(IN_ASAN) test-lua RUN_LUA="$(RUN_ASAN)"
asan-postgres: asan-build
	+@$(IN_ASAN) test-postgres RUN_LUA="$(RUN_ASAN)"
# In gcc 12 the search for leaks misreads the thread-local storage of some libraries, and crashes.
RUN_ASAN = env ASAN_OPTIONS=intercept_tls_get_addr=0$(if $(filter luajit,$(LUA)),:detect_leaks=0) \
  LD_PRELOAD=$$($(CC) -print-file-name=libasan.so):$$($(CC) -print-file-name=libubsan.so)
valgrind-lua: lua
	@$(MAKE) --no-print-directory test-lua RUN_LUA="$(VALGRIND)"
tsan-build:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/tsan CFLAGS="-O1 -g -fsanitize=thread" \
	  LDFLAGS="-fsanitize=thread" $(BUILD)/tsan/test/threads_test $(BUILD)/tsan/test/sandbox_test
tsan: tsan-build
	TSAN_OPTIONS=halt_on_error=1 $(BUILD)/tsan/test/threads_test
	TSAN_OPTIONS=halt_on_error=1 $(BUILD)/tsan/test/sandbox_test
valgrind:
	@$(MAKE) --no-print-directory test-core RUN_TEST="env LEAT_SLOWNESS=3 $(VALGRIND)"

# These run in sequence, because each adds to the earlier counts. Specs compare what programs print, so the errors of
# gcov, which cannot write where a spec limits the size of files, are in a file.
coverage:
	@rm -rf $(BUILD)/coverage
	@$(MAKE) -s --no-print-directory BUILD=$(BUILD)/coverage CC=gcc CFLAGS="-O0 -g --coverage" \
	  LDFLAGS="--coverage" lua test-core >/dev/null
	@LEAT_COVERAGE=$(CURDIR)/$(BUILD)/coverage/lua.txt \
	  GCOV_ERROR_FILE=$(CURDIR)/$(BUILD)/coverage/errors.txt $(MAKE) -s --no-print-directory \
	  BUILD=$(BUILD)/coverage CC=gcc CFLAGS="-O0 -g --coverage" LDFLAGS="--coverage" test-lua \
	  BUSTED_FLAGS="--helper=spec/support/coverage.lua"
	@BUILD=$(BUILD)/coverage sh spec/support/coverage.sh $(LUA) | tee $(BUILD)/coverage/report.txt

# Out of memory, under the sanitizers: each TORTURE_STEP-th allocation fails in turn.
TORTURE_STEP ?= 1
TORTURE ?= lua5.4 luajit core
TORTURE_WRAP := $(addprefix -Wl$(comma)--wrap=,malloc calloc realloc free clock_gettime leat_call_next)
torture:
	+@for of in $(TORTURE); do \
	  case $$of in core) $(IN_ASAN) torture-c ;; *) $(IN_ASAN) LUA=$$of torture-lua ;; esac || exit 1; \
	done
torture-c: $(T)/curl_torture
	$(T)/curl_torture $(TORTURE_STEP)
torture-lua: $(M)/lua_torture
	$(run_env) $(M)/lua_torture spec/torture/sweep.lua $(TORTURE_STEP)
	$(run_env) $(M)/lua_torture spec/torture/journal.lua
$(T)/curl_torture: $(T)/curl_torture.o $(BUILD)/libleat_sandbox.a $(BUILD)/libleat.a
	$(CC) $(LDFLAGS) $(TORTURE_WRAP) -o $@ $^ $(TEST_LIBS)
$(M)/lua_torture: $(M)/lua_torture.o $(CORE_O) $(CURL_O) $(SANDBOX_O) $(JOBS_O) $(SHARED_O) \
  $(BUILD)/libleat_sandbox.a $(BUILD)/libleat.a
	$(CC) $(LDFLAGS) $(TORTURE_WRAP) -rdynamic -o $@ $^ $(LUA_LIBS) $(SQLITE_LIBS) $(TEST_LIBS)
$(T)/%.o: spec/torture/%.c $(FLAGS)
	@mkdir -p $(@D)
	$(CC) $(CPP_FLAGS) -Ispec/support $(C_FLAGS) -MMD -MP -c $< -o $@
$(M)/%.o: spec/torture/%.c $(FLAGS)
	@mkdir -p $(@D)
	$(CC) $(CPP_FLAGS) -Ilua $(LUA_CFLAGS) $(C_FLAGS) -MMD -MP -c $< -o $@

FUZZERS := $(patsubst spec/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard spec/fuzz/*_fuzz.c))
fuzz-build: $(FUZZERS)
fuzz: fuzz-build
	@sh spec/fuzz/run.sh $(FUZZ_SECONDS) $(FUZZERS)
$(BUILD)/fuzz/%: spec/fuzz/%.c spec/support/http_cases.c $(PURE) $(wildcard core/*.h spec/fuzz/*.h spec/support/*.h)
	@mkdir -p $(@D)
	clang $(CPP_FLAGS) $(STANDARD) -Ispec/support -O1 -g -fsanitize=fuzzer,address,undefined \
	  -fno-sanitize-recover=all -o $@ $< spec/support/http_cases.c $(PURE) $(JANSSON_LIBS)

BENCH_TOOLS := $(patsubst spec/bench/%.c,$(BUILD)/bench/%,$(wildcard spec/bench/*.c))
nightly:
	@bash spec/support/nightly.sh $(PART)
test-platforms:
	@sh spec/support/platforms.sh $(PLATFORMS)
mutants:
	@sh spec/support/mutants.sh $(MUTANTS)
BENCH_LUAS ?= $(LUA) luajit
bench: lua $(BENCH_TOOLS) $(T)/slow_server
	@for lua in $(BENCH_LUAS); do ! command -v $$lua >/dev/null || $(MAKE) -s LUA=$$lua lua || exit 1; done
	@$(run_env) LUA=$(LUA) BENCH_LUAS="$(BENCH_LUAS)" LEAT_TOOLS=$(T) BENCH_TOOLS=$(BUILD)/bench sh spec/bench/run.sh
bench-nginx:
	@$(MAKE) -s --no-print-directory LUA=luajit lua
	@$(MAKE) -s --no-print-directory bench BENCH=nginx LEAT_ROOT=$(CURDIR) LEAT_NGINX_MODULES=$(CURDIR)/$(BUILD)/luajit
bench-jobs: lua $(BUILD)/bench/gauge $(BUILD)/bench/stopwatch $(BUILD)/bench/turns_loop
	@$(run_env) LUA=$(LUA) LEAT=$(M)/bin/leat BENCH_TOOLS=$(BUILD)/bench sh spec/bench/jobs.sh
$(BUILD)/bench/%: spec/bench/%.c spec/bench/finds.h
	@mkdir -p $(@D)
	$(CC) $(CPP_FLAGS) $(C_FLAGS) $(LDFLAGS) -o $@ $< $(CURL_LIBS)
$(BUILD)/bench/turns_loop: spec/bench/turns_loop.c
	@mkdir -p $(@D)
	$(CC) $(POSTGRES_CFLAGS) $(C_FLAGS) $(LDFLAGS) -o $@ $< $(POSTGRES_LIBS)

# ---- proof -----------------------------------------------------------------------

C_FILES  := $(wildcard core/*.[ch] core/*/*.[ch] examples/*.c lua/*.[ch] spec/core/*.[ch] spec/support/*.[ch] spec/fuzz/*.[ch] spec/bench/*.[ch] spec/torture/*.[ch] spec/postgres/*.[ch])
SH_FILES := $(wildcard .ci/run examples/*.sh examples/*/*.sh rockspec/*.sh spec/*.sh spec/*/*.sh)
lint:
	$(LUA) spec/support/words.lua
	clang-format --dry-run -Werror $(C_FILES)
	printf '%s\n' $(wildcard core/*.c core/*/*.c lua/*.c) | xargs -P $(JOBS) -I FILE clang-tidy --quiet \
	  --warnings-as-errors='*' FILE -- $(STANDARD) $(CPP_FLAGS) $(LUA_CFLAGS) $(WARNINGS)
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --error-exitcode=1 \
	  --inline-suppr --suppress=missingIncludeSystem -Icore -Icore/curl -Icore/sandbox core lua
	luacheck --quiet lua spec examples rockspec lua/bin/leat
	shellcheck $(SH_FILES)
	LUA=$(LUA) sh spec/support/readers.sh
	sh spec/support/mutants.sh --check
	bash spec/support/nightly_test.sh
# A sandbox's request owns its memory; gcc cannot follow the ownership through libmicrohttpd.
analyze:
	@for file in $(wildcard core/*.c core/*/*.c lua/*.c); do \
	  case $$file in core/sandbox/sandbox.c) but=-Wno-analyzer-malloc-leak ;; *) but= ;; esac; \
	  gcc $(CPP_FLAGS) $(LUA_CFLAGS) $(STANDARD) -O2 -fanalyzer -Werror $$but -c $$file -o /dev/null || exit 1; done
	@mkdir -p $(BUILD)/analyze && scan-build --status-bugs -o $(BUILD)/analyze \
	  $(MAKE) -s BUILD=$(BUILD)/analyze/build lua libraries
	@rm -r $(BUILD)/analyze/build
# Objects that must not use each other in a cycle.
ACYCLIC_OBJ := $(PURE_OBJ) $(CURL_OBJ) $(if $(has_sandbox),$(SANDBOX_OBJ))
purity: $(ACYCLIC_OBJ)
	@sh spec/support/purity.sh $(PURE_OBJ)
	@sh spec/support/cycles.sh $(ACYCLIC_OBJ)
exports: libraries lua
	@BUILD=$(BUILD) sh spec/support/exports.sh $(MODULES) $(CLI_MODULE) $(if $(has_sandbox),$(SANDBOX_MODULE)) \
	  $(if $(has_sqlite),$(JOBS_MODULES)) $(if $(has_postgres),$(POSTGRES_MODULE))

# ---- documentation ---------------------------------------------------------------

# Debian's LDoc runs under this Lua only.
LDOC ?= lua5.1 $(shell command -v ldoc)
DOC := spec/support/doc
PAGES := build/doc-pages
# mkdocs makes the site of the guides and of the pages that are written from the comments of Lua and of the C headers.
doc: $(BUILD)/libleat.a $(BUILD)/libleat_sandbox.a
	@rm -rf build/doc build/doc-xml $(PAGES)
	@mkdir -p $(PAGES)/reference/lua $(PAGES)/reference/c && cp -R docs/. $(PAGES)
	@for file in CONTRIBUTING SECURITY CHANGELOG; do sed 's|](docs/|](|g' $$file.md >$(PAGES)/$$file.md || exit 1; done
	LUA_PATH="./?.lua;;" DOC_PAGES=$(CURDIR)/$(PAGES)/reference/lua $(LDOC) -q --filter lua_pages.write -c $(DOC)/config.ld .
	doxygen $(DOC)/Doxyfile
	python3 $(DOC)/c_pages.py build/doc-xml/xml $(PAGES)/reference/c $(HEADERS)
	mkdocs build --strict -f $(DOC)/mkdocs.yml && rm build/doc/404.html
	$(LUA) $(DOC)/check.lua build/doc $(VERSION) $^
	@sh $(DOC)/files.sh $(PURE_OBJ) $(CURL_OBJ) | diff docs/pictures/files.dot - || { echo "run make pictures"; exit 1; }
# The pictures that show figures; Graphviz draws which file calls which.
pictures: $(PURE_OBJ) $(CURL_OBJ)
	$(LUA) -e 'io.write(dofile("$(DOC)/bench.lua")())' >docs/pictures/bench.svg
	sh $(DOC)/files.sh $(PURE_OBJ) $(CURL_OBJ) >docs/pictures/files.dot
	tred docs/pictures/files.dot | dot -Tsvg -o docs/pictures/files.svg

# ---- installing ------------------------------------------------------------------

LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
VERSION    := $(shell sed -n 's/^\#define LEAT_VERSION *"\(.*\)"/\1/p' core/leat.h)
HEADERS    := core/leat.h core/leat_json.h core/leat_observe.h core/leat_driver.h core/curl/leat_curl.h $(if $(has_sandbox),core/sandbox/leat_sandbox.h)
PC_FILES   := leat.pc $(if $(has_sandbox),leat-sandbox.pc)

# $(call put,MODE,FILES,FROM,TO)
put = for file in $(2:$(3)/%=%); do $(INSTALL) -D -m $(1) "$(3)/$$file" "$(DESTDIR)$(4)/$$file" || { \
  echo "to write there: sudo make install, or PREFIX=$$HOME/.local make -e install" >&2; exit 1; }; done
# Without ldconfig, programs do not find new libraries in /usr/local/lib. With DESTDIR, the package runs it.
refresh = [ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig

install: install-core install-lua $(if $(lua_program),install-command)
	$(if $(lua_program),@:,@echo no $(LUA) to run: installed without the command)
install-core: libraries
	@$(foreach header,$(HEADERS),$(call put,644,$(notdir $(header)),$(patsubst %/,%,$(dir $(header))),$(INCLUDEDIR));)
	@$(call put,644,$(LIBRARIES:%=%.a),$(BUILD),$(LIBDIR))
	@$(call put,755,$(LIBRARIES:%=%.so.$(SOVERSION)),$(BUILD),$(LIBDIR))
	@for so in $(LIBRARIES:%=%.so); do ln -sf $$so.$(SOVERSION) "$(DESTDIR)$(LIBDIR)/$$so" || exit 1; done
	@$(INSTALL) -d "$(DESTDIR)$(LIBDIR)/pkgconfig"
	@for pc in $(PC_FILES); do \
	  sed -e "s|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|" \
	    -e 's|@VERSION@|$(VERSION)|' core/$$pc.in >"$(DESTDIR)$(LIBDIR)/pkgconfig/$$pc" || exit 1; done
	@$(refresh)

install-lua: $(parts:%=install-lua-%)
install-lua-leat: lua-leat
	@$(call put,644,$(LUA_SRC),lua,$(INST_LUADIR))
	@$(call put,755,$(MODULES),$(M),$(INST_LIBDIR))
	$(if $(INST_DOCDIR),@$(call put,644,README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE,.,$(INST_DOCDIR)))
install-lua-cli: lua-cli
	@$(call put,644,$(CLI_LUA),lua,$(INST_LUADIR))
	@$(call put,755,$(CLI_MODULE),$(M),$(INST_LIBDIR))
install-lua-sandbox: lua-sandbox
	@$(call put,644,$(SANDBOX_LUA),lua,$(INST_LUADIR))
	@$(call put,755,$(SANDBOX_MODULE),$(M),$(INST_LIBDIR))
install-lua-jobs: lua-jobs
	@$(call put,644,$(JOBS_LUA),lua,$(INST_LUADIR))
	@$(call put,755,$(JOBS_MODULES),$(M),$(INST_LIBDIR))
install-lua-postgres: lua-postgres
	@$(call put,644,$(POSTGRES_LUA),lua,$(INST_LUADIR))
	@$(call put,755,$(POSTGRES_MODULE),$(M),$(INST_LIBDIR))

# What the parser of arguments says to man and to shells, as KIND:FILE below the prefix.
EXTRAS := man:share/man/man1/leat.1 bash:share/bash-completion/completions/leat \
  zsh:share/zsh/site-functions/_leat fish:share/fish/vendor_completions.d/leat.fish
extra_files := $(foreach extra,$(EXTRAS),$(lastword $(subst :, ,$(extra))))
C := $(M)/command
install-command:
	@$(call launcher,$(C)/bin/leat,$(INST_LUADIR),$(INST_LIBDIR))
	@$(call put,755,bin/leat,$(C),$(PREFIX))
	@if $(LUA) -e 'require("argparse")' 2>/dev/null; then \
	  for extra in $(EXTRAS); do \
	    mkdir -p "$$(dirname "$(C)/$${extra#*:}")" && \
	      $(LUA) rockspec/manual.lua $${extra%%:*} $(VERSION) >"$(C)/$${extra#*:}" || exit 1; done; \
	  $(call put,644,$(extra_files),$(C),$(PREFIX)); \
	else echo "no argparse for $(LUA): installed without a manual page and completions, and the command needs it:" \
	  "sh rockspec/deps.sh install cli $(LUA)"; fi

# Only leat's own folders are removed, and only if they are empty.
uninstall:
	rm -f $(patsubst %,"$(DESTDIR)$(INCLUDEDIR)/%",leat.h leat_json.h leat_observe.h leat_driver.h leat_curl.h leat_sandbox.h)
	rm -f "$(DESTDIR)$(LIBDIR)"/libleat.* "$(DESTDIR)$(LIBDIR)"/libleat_sandbox.* \
	  $(patsubst %,"$(DESTDIR)$(LIBDIR)/pkgconfig/%",leat.pc leat-sandbox.pc)
	rm -f $(patsubst %,"$(DESTDIR)$(PREFIX)/%",bin/leat $(extra_files))
	rm -f $(patsubst lua/%,"$(DESTDIR)$(INST_LUADIR)/%",$(LUA_SRC) $(CLI_LUA) $(SANDBOX_LUA) $(JOBS_LUA) $(POSTGRES_LUA)) \
	  $(patsubst $(M)/%,"$(DESTDIR)$(INST_LIBDIR)/%",$(MODULES) $(CLI_MODULE) $(SANDBOX_MODULE) $(JOBS_MODULES) $(POSTGRES_MODULE))
	@cd "$(DESTDIR)$(INST_LIBDIR)" 2>/dev/null && rmdir leat/curl leat/cli leat/sandbox leat/sqlite leat/csv leat/jobs leat/postgres leat 2>/dev/null || true
	@cd "$(DESTDIR)$(INST_LUADIR)" 2>/dev/null && rmdir leat/cli leat/jobs leat 2>/dev/null || true
	@$(refresh)

release:
	@sh rockspec/release.sh "$(VERSION)" $(BUILD)/release
	@echo "then: git tag v$(VERSION), and luarocks upload"

clean:
	rm -rf $(BUILD)
help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

-include $(wildcard $(B)/*.d $(B)/*/*.d $(M)/*.d $(T)/*.d)
