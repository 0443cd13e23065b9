/*
** leat_jobs.c - the module leat.jobs.core: files that must survive a power failure, and
** what the system knows of file systems and time.
**
**   core.create(path)        Returns a temporary file beside `path`, with mode 0600.
**   core.make_folder(path)   Makes the folder and those above it, with mode 0700. Returns
**                            true, also if it exists.
**   core.current_folder()    Returns the path of the current folder.
**   core.file_system(path)   Returns the name of the network file system that holds the
**                            path, or the nearest folder above it; nil: it is local, or
**                            this system does not tell.
**   core.boottime()          Returns milliseconds of a clock that is never set, and that
**                            goes on while the computer is suspended.
**   core.realtime()          Returns the milliseconds since 1970.
**   file:write(text)         Returns true. The text may be buffered. After an error each
**                            write fails.
**   file:publish()           Replaces `path` by the file, when all of it is on the disk.
**                            Returns true. If it fails, `path` is as before and the
**                            temporary file is removed.
**   file:discard()           Removes the temporary file. Does nothing after publish.
**
** Those that can fail return nil and a message in that case.
*/
#include "push.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#endif

#define FILE_TYPE "leat.jobs.file " LEAT_VERSION

typedef struct file_box { /* `stream` is NULL until it is opened, and once closed */
  FILE *stream;
  int error; /* the first error, as errno has it; or 0 */
  size_t length;
  char path[]; /* followed by the name of the temporary file */
} file_box;

static int push_failure(lua_State *L, const char *what, const char *path, int error) {
  lua_pushnil(L);
  lua_pushfstring(L, "can't %s %s: %s", what, path, strerror(error));
  return 2;
}

static const char *check_path(lua_State *L, size_t *length) {
  luaL_checktype(L, 1, LUA_TSTRING);
  const char *path = lua_tolstring(L, 1, length);
  luaL_argcheck(L, strlen(path) == *length, 1, "it contains a NUL byte");
  luaL_argcheck(L, *length > 0, 1, "it is empty");
  return path;
}

/* Copies the path without its last part: the folder that holds it. `folder` has room for
** the path and one character more, and may be the path. Returns false for "/", which is
** in no folder. */
static bool folder_of(const char *path, char *folder) {
  size_t end = strlen(path);
  if (end == 1 && path[0] == '/') return false;
  while (end > 0 && path[end - 1] != '/')
    end--;
  while (end > 1 && path[end - 1] == '/')
    end--;
  memmove(folder, end ? path : ".", end ? end : 1);
  folder[end ? end : 1] = '\0';
  return true;
}

/* ---- files ----------------------------------------------------------------------- */

static char *temporary_name(file_box *box) {
  return box->path + box->length + 1;
}

static file_box *check_file(lua_State *L) {
  file_box *box = check_box(L, 1, OWN, FILE_TYPE);
  luaL_argcheck(L, box->stream != NULL, 1, "file is closed");
  return box;
}

static file_box *new_file(lua_State *L) {
  static const char suffix[] = ".tmp-XXXXXX";
  size_t length;
  const char *path = check_path(L, &length);
  file_box *box = lua_newuserdatauv(L, sizeof *box + 2 * length + 1 + sizeof suffix, 0);
  *box = (file_box){.length = length};
  luaL_setmetatable(L, FILE_TYPE);
  memcpy(box->path, path, length + 1);
  memcpy(temporary_name(box), path, length);
  memcpy(temporary_name(box) + length, suffix, sizeof suffix);
  return box;
}

static int file_create(lua_State *L) {
  file_box *box = new_file(L);
  int fd = mkstemp(temporary_name(box)); /* sets the mode 0600 */
  if (fd < 0) return push_failure(L, "create", box->path, errno);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  box->stream = fdopen(fd, "w");
  if (box->stream) return 1;
  int error = errno;
  close(fd);
  unlink(temporary_name(box));
  return push_failure(L, "create", box->path, error);
}

static int file_write(lua_State *L) {
  file_box *box = check_file(L);
  size_t length;
  luaL_checktype(L, 2, LUA_TSTRING);
  const char *text = lua_tolstring(L, 2, &length);
  if (!box->error && fwrite(text, 1, length, box->stream) != length) box->error = errno;
  if (box->error) return push_failure(L, "write", box->path, box->error);
  lua_pushboolean(L, 1);
  return 1;
}

/* Closes the stream. Stores the first error. */
static void finish_file(file_box *box) {
  FILE *stream = box->stream;
  box->stream = NULL;
  if (!box->error && (fflush(stream) != 0 || fsync(fileno(stream)) != 0))
    box->error = errno;
  if (fclose(stream) != 0 && !box->error) box->error = errno;
}

/* A new name survives a power failure once its folder is synced. Some file systems can't
** do that, and say so with EINVAL. */
static bool sync_folder(const char *folder) {
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  bool synced = fsync(fd) == 0 || errno == EINVAL;
  int error = errno;
  close(fd);
  errno = error;
  return synced;
}

/* The folder's name replaces that of the temporary file, which is gone. */
static bool move_into_place(file_box *box) {
  if (rename(temporary_name(box), box->path) != 0) return false;
  folder_of(box->path, temporary_name(box));
  return sync_folder(temporary_name(box));
}

static int file_publish(lua_State *L) {
  file_box *box = check_file(L);
  finish_file(box);
  if (box->error) {
    unlink(temporary_name(box));
    return push_failure(L, "write", box->path, box->error);
  }
  if (!move_into_place(box)) {
    int error = errno;
    unlink(temporary_name(box));
    return push_failure(L, "replace", box->path, error);
  }
  lua_pushboolean(L, 1);
  return 1;
}

static int file_discard(lua_State *L) {
  file_box *box = check_box(L, 1, OWN, FILE_TYPE);
  FILE *stream = box->stream;
  box->stream = NULL;
  if (stream) {
    unlink(temporary_name(box));
    fclose(stream);
  }
  return 0;
}

/* ---- folders --------------------------------------------------------------------- */

static bool is_folder(const char *path) {
  struct stat found;
  return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

static int make_folder(const char *path) {
  if (mkdir(path, 0700) == 0) return 0;
  int error = errno;
  if (is_folder(path)) return 0;
  return error == EEXIST ? ENOTDIR : error;
}

static int jobs_make_folder(lua_State *L) {
  size_t length;
  const char *path = check_path(L, &length);
  char *prefix = lua_newuserdata(L, length + 1);
  int error = 0;
  memcpy(prefix, path, length + 1);
  for (size_t i = 1; i <= length && !error; i++) {
    if (path[i] != '/' && path[i] != '\0') continue;
    prefix[i] = '\0';
    error = make_folder(prefix);
    prefix[i] = path[i];
  }
  if (error) return push_failure(L, "make the folder", path, error);
  lua_pushboolean(L, 1);
  return 1;
}

#ifndef PATH_MAX
#define PATH_MAX 4096
#endif

static int jobs_current_folder(lua_State *L) {
  char path[PATH_MAX];
  if (!getcwd(path, sizeof path))
    return push_failure(L, "find", "the current folder", errno);
  lua_pushstring(L, path);
  return 1;
}

/* ---- file systems ---------------------------------------------------------------- */

enum { NAME_SIZE = 64 }; /* for the name of a type of file system */

#ifdef __linux__

/* Those of statfs's numbers that belong to file systems which several computers use. */
static const char *network_name(unsigned long type) {
  static const struct {
    unsigned long type;
    const char *name;
  } known[] = {
      {0x6969, "nfs"},        {0x517B, "smb"},        {0xFE534D42, "smb2"},
      {0xFF534D42, "cifs"},   {0x564C, "ncp"},        {0x5346414F, "afs"},
      {0x6B414653, "afs"},    {0x73757245, "coda"},   {0x01021997, "9p"},
      {0x00C36400, "ceph"},   {0x0BD00BD0, "lustre"}, {0x47504653, "gpfs"},
      {0x19830326, "beegfs"}, {0x20030528, "pvfs2"},  {0x7461636F, "ocfs2"},
      {0x01161970, "gfs2"},   {0x61636673, "acfs"},   {0x786F4256, "vboxsf"},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (known[i].type == (type & 0xFFFFFFFF)) return known[i].name;
  return NULL;
}

/* File systems of FUSE have one number for all. Many are local, such as fuse-overlayfs,
** which holds the files of containers. */
static bool is_network_fuse(const char *name) {
  static const char *const known[] = {
      "sshfs",    "s3fs",      "glusterfs",  "gcsfuse",  "rclone",  "davfs",    "ceph",
      "smbnetfs", "curlftpfs", "gvfsd-fuse", "goofys",   "juicefs", "lizardfs", "mfs",
      "moosefs",  "seaweedfs", "blobfuse",   "mount-s3", "hdfs",    "cvmfs2",   "nfs"};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (strncmp(name, "fuse.", 5) == 0 && strcmp(name + 5, known[i]) == 0) return true;
  return false;
}

/* Finds the type of file system in a line of /proc/self/mountinfo, such as
** "36 35 0:32 / /mnt rw - fuse.sshfs host:/ rw". Returns whether the line's device, its
** third word, is `device`. */
static bool read_mount(const char *line, const char *device, char name[NAME_SIZE]) {
  static const char separator[] = " - ";
  const char *parent = strchr(line, ' ');
  const char *number = parent ? strchr(parent + 1, ' ') : NULL;
  const char *type = strstr(line, separator);
  if (!number || !type || strncmp(number, device, strlen(device)) != 0) return false;
  type += strlen(separator);
  size_t length = strcspn(type, " ");
  snprintf(name, NAME_SIZE, "%.*s", (int)length, type);
  return true;
}

static const char *fuse_name(const char *path, char name[NAME_SIZE]) {
  struct stat found;
  char line[4096], device[32];
  bool is = false;
  if (stat(path, &found) != 0) return NULL;
  snprintf(device, sizeof device, " %u:%u ", major(found.st_dev), minor(found.st_dev));
  FILE *mounts = fopen("/proc/self/mountinfo", "re");
  while (mounts && !is && fgets(line, sizeof line, mounts))
    is = read_mount(line, device, name);
  if (mounts) fclose(mounts);
  return is && is_network_fuse(name) ? name : NULL;
}

static const char *network_file_system(const char *path, char name[NAME_SIZE]) {
  enum { FUSE = 0x65735546 };
  struct statfs found;
  if (statfs(path, &found) != 0) return NULL;
  unsigned long type = (unsigned long)found.f_type;
  return type == FUSE ? fuse_name(path, name) : network_name(type);
}

#else

static const char *network_file_system(const char *path, char name[NAME_SIZE]) {
  (void)path, (void)name;
  return NULL;
}

#endif

static int jobs_file_system(lua_State *L) {
  size_t length;
  const char *path = check_path(L, &length);
  char name[NAME_SIZE], *existing = lua_newuserdata(L, length + 2);
  memcpy(existing, path, length + 1);
  while (access(existing, F_OK) != 0 && folder_of(existing, existing))
    if (strcmp(existing, ".") == 0) break;
  lua_pushstring(L, network_file_system(existing, name));
  return 1;
}

/* ---- time ------------------------------------------------------------------------ */

/* Pushes the milliseconds of a clock. Returns false if the system lacks it. */
static bool push_clock(lua_State *L, clockid_t clock) {
  struct timespec now;
  if (clock_gettime(clock, &now) != 0) return false;
  lua_pushnumber(L, (lua_Number)now.tv_sec * 1000 + (lua_Number)now.tv_nsec / 1000000);
  return true;
}

static int jobs_boottime(lua_State *L) {
#ifdef CLOCK_BOOTTIME
  if (push_clock(L, CLOCK_BOOTTIME)) return 1;
#endif
  lua_pushnumber(L, monotonic_ms());
  return 1;
}

static int jobs_realtime(lua_State *L) {
  return push_clock(L, CLOCK_REALTIME);
}

/* ---- the module ------------------------------------------------------------------ */

static const luaL_Reg methods[] = {{"write", file_write},
                                   {"publish", file_publish},
                                   {"discard", file_discard},
                                   {NULL, NULL}};

static const luaL_Reg functions[] = {{"create", file_create},
                                     {"make_folder", jobs_make_folder},
                                     {"file_system", jobs_file_system},
                                     {"boottime", jobs_boottime},
                                     {"realtime", jobs_realtime},
                                     {"current_folder", jobs_current_folder},
                                     {NULL, NULL}};

LEAT_API int luaopen_leat_jobs_core(lua_State *L);

LEAT_API int luaopen_leat_jobs_core(lua_State *L) {
  leat__new_type(L, FILE_TYPE, file_discard, methods);
  lua_newtable(L);
  leat__set_functions(L, FILE_TYPE, functions);
  return 1;
}
