-- leat.jobs.core: files are published as a whole or not at all, and nothing of them is left or readable for others.
local core = require("leat.jobs.core")
local script = dofile("spec/support/script.lua")
local raises = dofile("spec/support/raises.lua")("spec/jobs_files_spec.lua")
local read = dofile("spec/support/read.lua")

local CALLS = ('LD_PRELOAD="$LD_PRELOAD %s/system_calls.so"'):format(os.getenv("LEAT_TOOLS"))

describe("leat.jobs.core", function()
  local folder, path

  local function shell(command)
    local pipe = assert(io.popen(command .. " 2>&1"))
    local text = pipe:read("*a")
    pipe:close()
    return text
  end

  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    assert.equal("", shell("mkdir " .. folder))
    path = folder .. "/cards.results.csv"
  end)
  after_each(function() shell("rm -r " .. folder) end)

  local function list()
    return shell("ls -A " .. folder)
  end

  local function write_old()
    local file = assert(io.open(path, "w"))
    file:write("old")
    file:close()
  end

  -- Runs a script with `path` and `core`.
  local function run(text, prefix)
    return (script.run(("local path, core = %q, require('leat.jobs.core')\n"):format(path) .. text, prefix))
  end

  describe("a file", function()
    it("appears under its name when it is published, with all that was written", function()
      local file = assert(core.create(path))
      assert.matches("^cards%.results%.csv%.tmp%-%w+\n$", list())
      assert.is_true(file:write("a\0b\r\n"))
      assert.is_true(file:write(""))
      assert.is_true(file:write(("x"):rep(100000)))
      assert.is_true(file:publish())
      assert.equal("cards.results.csv\n", list())
      assert.equal("a\0b\r\n" .. ("x"):rep(100000), read(path))
    end)

    it("replaces an older one, which is there until then", function()
      write_old()
      local file = assert(core.create(path))
      file:write("new")
      assert.equal("old", read(path))
      assert.is_true(file:publish())
      assert.equal("new", read(path))
    end)

    it("does not disturb another one that is written to the same path", function()
      local one, two = assert(core.create(path)), assert(core.create(path))
      one:write("one")
      two:write("two")
      assert.is_true(two:publish())
      assert.is_true(one:publish())
      assert.equal("one", read(path))
      assert.equal("cards.results.csv\n", list())
    end)

    it("is for its owner only, whatever the umask is and the older one was", function()
      for _, umask in ipairs { "022", "000" } do
        write_old()
        shell("chmod 666 " .. path)
        assert.equal("600\n600\n", run([[
          local file = assert(core.create(path))
          os.execute("stat -c %a " .. path .. ".tmp-*")
          assert(file:write("new") and file:publish())
          os.execute("stat -c %a " .. path)
        ]], "umask " .. umask .. ";"))
      end
    end)

    it("is on the disk before it gets its name, and the name before publish returns", function()
      assert.equal("written\nfsync file\nrename\nfsync folder\ntrue\n", run([[
        local file = assert(core.create(path))
        print("written", io.stdout:flush() and file:write("text") and nil)
        io.stdout:flush()
        print(file:publish())
      ]], CALLS):gsub("written\t%S+", "written"))
    end)

    it("may have a relative path, and a folder in it", function()
      for _, name in ipairs { "one.csv", "./two.csv", "../" .. folder:match("[^/]+$") .. "/three.csv" } do
        assert.equal("true\n", (script.run(([[
          local file = assert(require("leat.jobs.core").create(%q))
          print(file:publish())
        ]]):format(name), "cd " .. folder .. " &&")))
      end
      assert.equal("one.csv\nthree.csv\ntwo.csv\n", list())
    end)
  end)

  describe("a file that fails", function()
    before_each(write_old)

    local function nothing_changed()
      assert.equal("cards.results.csv\n", list())
      assert.equal("old", read(path))
    end

    it("while it is written keeps the error, and is not published", function()
      local text = run([[
        local file = assert(core.create(path))
        print(file:write(("x"):rep(100000)))
        print(file:write("y"))
        print(file:publish())
        print(pcall(file.write, file, "z"))
      ]], "trap '' XFSZ; ulimit -f 0;")
      local line = ("nil\tcan't write %s: File too large\n"):format(path)
      assert.equal(line:rep(3) .. "false\tbad argument #1 to '?' (file is closed)\n", text)
      nothing_changed()
    end)

    it("when its last part is written is not published", function()
      local text = run([[
        local file = assert(core.create(path))
        print(file:write("few"))
        print(file:publish())
      ]], "trap '' XFSZ; ulimit -f 0;")
      assert.equal(("true\nnil\tcan't write %s: File too large\n"):format(path), text)
      nothing_changed()
    end)

    it("to reach the disk is not published", function()
      local text = run([[
        local file = assert(core.create(path))
        file:write("few")
        print(file:publish())
      ]], "LEAT_FSYNC=5 " .. CALLS)
      assert.equal(("fsync file\nnil\tcan't write %s: Input/output error\n"):format(path), text)
      nothing_changed()
    end)

    it("because a folder has its name leaves that folder", function()
      shell(("rm %s && mkdir %s && touch %s/inside"):format(path, path, path))
      local file = assert(core.create(path))
      assert.same({ nil, ("can't replace %s: Is a directory"):format(path) }, { file:publish() })
      assert.equal("cards.results.csv\n", list())
      assert.equal("inside\n", shell("ls " .. path))
    end)

    it("because its folder was removed says so", function()
      local file = assert(core.create(path))
      shell("rm -r " .. folder)
      assert.same({ nil, ("can't replace %s: No such file or directory"):format(path) }, { file:publish() })
      shell("mkdir " .. folder)
    end)

    it("to be created says why", function()
      assert.same({ nil, ("can't create %s/x: Not a directory"):format(path) }, { core.create(path .. "/x") })
      assert.same({ nil, ("can't create %s/no/x: No such file or directory"):format(folder) },
        { core.create(folder .. "/no/x") })
      nothing_changed()
    end)
  end)

  describe("a file that is not wanted", function()
    it("is removed by discard, once", function()
      local file = assert(core.create(path))
      file:write("x")
      file:discard()
      file:discard()
      assert.equal("", list())
      raises("'write' on bad self (file is closed)", function() file:write("x") end)
      raises("'publish' on bad self (file is closed)", function() file:publish() end)
    end)

    it("is removed with the garbage, and at the end of the program", function()
      assert(core.create(path)):write("x")
      collectgarbage()
      collectgarbage()
      assert.equal("", list())
      assert.equal("", run("file = assert(core.create(path)) file:write('x')"))
      assert.equal("", list())
    end)

    it("is not removed once it is published", function()
      local file = assert(core.create(path))
      assert.is_true(file:publish())
      file:discard()
      file = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      assert.equal("cards.results.csv\n", list())
    end)
  end)

  it("takes strings without NUL bytes", function()
    for _, name in ipairs { "create", "make_folder", "file_system" } do
      raises("string expected, got no value", function() core[name]() end)
      raises("string expected, got number", function() core[name](1) end)
      raises("NUL byte", function() core[name](path .. "\0") end)
      raises("it is empty", function() core[name]("") end)
    end
    local file = assert(core.create(path))
    raises("string expected, got number", function() file:write(1) end)
    file:discard()
  end)

  describe("make_folder", function()
    it("makes all that is missing, for its owner only", function()
      assert.equal("true\n", run("print(core.make_folder(path .. '/a//b/'))", "umask 000;"))
      assert.equal("700\n700\n700\n", shell(("stat -c %%a %s %s/a %s/a/b"):format(path, path, path)))
      assert.is_true(core.make_folder(path .. "/a"))
      assert.is_true(core.make_folder("/"))
    end)

    it("leaves a folder that is there as it is", function()
      shell("chmod 755 " .. folder)
      assert.is_true(core.make_folder(folder))
      assert.equal("755\n", shell("stat -c %a " .. folder))
    end)

    it("says what is in the way", function()
      write_old()
      for _, name in ipairs { path, path .. "/x", path .. "/x/y" } do
        assert.same({ nil, ("can't make the folder %s: Not a directory"):format(name) }, { core.make_folder(name) })
      end
    end)
  end)

  describe("file_system", function()
    local function of_type(number, name)
      return run(("print(core.file_system(%s))"):format(name or "path"), "LEAT_STATFS=" .. number .. " " .. CALLS)
    end

    it("names those that several computers use", function()
      for number, name in pairs { [0x6969] = "nfs", [0x517B] = "smb", [0xFE534D42] = "smb2", [0xFF534D42] = "cifs",
        [0x564C] = "ncp", [0x5346414F] = "afs", [0x01021997] = "9p" } do
        assert.equal(name .. "\n", of_type(("0x%X"):format(number)))
      end
    end)

    it("is nil for local ones", function()
      for _, number in ipairs { "0xEF53", "0x58465342", "0x9123683E", "0x01021994", "0x794C7630", "0x2FC12FC1" } do
        assert.equal("nil\n", of_type(number)) -- ext4, xfs, btrfs, tmpfs, overlayfs, zfs
      end
    end)

    it("looks up those of FUSE in the table of mounts", function()
      local device, mounts = tonumber(shell("stat -c %D " .. folder), 16), os.tmpname()
      local number = ("%d:%d"):format(math.floor(device / 256) % 4096, device % 256 + math.floor(device / 2 ^ 20) * 256)
      for type_, wanted in pairs { ["fuse.sshfs"] = "fuse.sshfs", ["fuse.fuse-overlayfs"] = "nil", fuseblk = "nil" } do
        local file = assert(io.open(mounts, "w"))
        file:write(("20 1 999:1 / / rw - fuse.s3fs x rw\n21 1 %s / / rw,a shared:1 - %s x rw\n"):format(number, type_))
        file:close()
        local settings = ("LEAT_STATFS=0x65735546 LEAT_MOUNTS=%s %s"):format(mounts, CALLS)
        assert.equal(wanted .. "\n", run("print(core.file_system(path))", settings))
      end
      os.remove(mounts)
    end)

    it("looks at the nearest folder above a path that does not exist", function()
      assert.equal("nfs\n", of_type("0x6969", "path .. '/a/b/c.db'"))
      assert.equal("nfs\n", of_type("0x6969", "'none.db'"))
      assert.equal("nfs\n", of_type("0x6969", "'none/none.db'"))
      assert.equal("nfs\n", of_type("0x6969", "'/none/none.db'"))
    end)
  end)

  it("has a clock that goes on, and was not started later than the one that stops in suspension", function()
    local monotonic, now = require("leat.core").now(), core.boottime()
    assert.is_true(now >= monotonic)
    shell("sleep 0.05")
    local passed, wanted = core.boottime() - now, require("leat.core").now() - monotonic
    assert.is_true(passed >= 50 and math.abs(passed - wanted) < 20, passed .. " " .. wanted)
  end)

  it("knows the time since 1970 to the millisecond", function()
    local earliest, now, fraction = os.time(), core.realtime(), 0
    assert.is_true(now >= 1000 * earliest and now <= 1000 * (os.time() + 1))
    for _ = 1, 3 do
      shell("sleep 0.01")
      fraction = math.max(fraction, core.realtime() % 1000)
    end
    assert.is_true(fraction > 0)
    assert.is_true(core.realtime() - now < 5000)
  end)
end)
