#include "deployed.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

int deployed_run(const test_stack_t *stack, const char *name, const char *extra, const char *script)
{
    const char *text =
        test_text("set -eu; source \"$1/deploy/lib.sh\"\n"
                  "source \"$1/deploy/servers.sh\"; source \"$1/deploy/stack.sh\"\n"
                  "umask 077; stack_paths \"$2\"; name=$3; extra=$4; log=$LOG_DIR/$name.log\n%s",
                  script);
    const char *log = test_text("%s.up.log", stack->dir);
    const char *const arguments[] = {
        "bash",     "-c", text,  "bash", test_environment("HOLDFAST_REPO"),
        stack->dir, name, extra, NULL};
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600), in = open("/dev/null", O_RDONLY);
        dup2(in, STDIN_FILENO);
        dup2(out, STDOUT_FILENO);
        dup2(out, STDERR_FILENO);
        execvp(arguments[0], (char *const *)arguments);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        FAIL("cannot run bash: %s", strerror(errno));
    return status;
}

void deployed_must(const test_stack_t *stack, const char *name, const char *extra,
                   const char *script)
{
    int status = deployed_run(stack, name, extra, script);
    EXPECT(status == 0, "status %d, see %s.up.log, of:\n%s", status, stack->dir, script);
}

pid_t deployed_pid(const test_stack_t *stack, const char *name)
{
    long pid = 0;
    FILE *in = fopen(test_text("%s/run/%s.pid", stack->dir, name), "re");
    EXPECT(in != NULL && fscanf(in, "%ld", &pid) == 1 && pid > 1, "no pid of %s", name);
    fclose(in);
    return (pid_t)pid;
}
