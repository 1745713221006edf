#include "certificate.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include "harness/test.h"

void test_certificate(const char *name, const char *key, const char *certificate)
{
    const char *subject = test_text("/CN=%s", name);
    pid_t pid = fork();
    if (pid == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(126);
        execlp("openssl", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
               "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", subject, "-addext",
               "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    EXPECT(waitpid(pid, &status, 0) == pid && status == 0, "openssl made no certificate: %d",
           status);
    EXPECT(chmod(key, 0600) == 0, "no key");
}
