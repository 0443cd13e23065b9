/*
** gauge.c - runs a program and prints its largest resident memory in kB, and its largest
** number of open descriptors, both sampled often. Prints nothing if the program failed.
**
**   gauge PROGRAM [ARGUMENT]...
*/
#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EACH_MS = 20 };

static void become(char **command) {
  dup2(STDERR_FILENO, STDOUT_FILENO);
  execvp(command[0], command);
  perror(command[0]);
  _exit(127);
}

static long count_descriptors(pid_t pid) {
  char path[64];
  long count = 0;
  snprintf(path, sizeof path, "/proc/%ld/fd", (long)pid);
  DIR *dir = opendir(path);
  if (!dir) return 0;
  for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
    count += entry->d_name[0] != '.';
  closedir(dir);
  return count;
}

int main(int argc, char **argv) {
  const struct timespec pause = {.tv_nsec = EACH_MS * 1000000L};
  struct rusage used;
  int status;
  long most = 0;
  pid_t child = argc > 1 ? fork() : -1, ended;
  if (child == 0) become(argv + 1);
  if (child < 0) return 1;
  while ((ended = wait4(child, &status, WNOHANG, &used)) == 0) {
    long now = count_descriptors(child);
    if (now > most) most = now;
    nanosleep(&pause, NULL);
  }
  if (ended != child || status != 0) return 1;
  printf("%ld %ld\n", used.ru_maxrss, most);
  return 0;
}
