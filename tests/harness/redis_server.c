#include "redis_server.h"

#include <hiredis/hiredis.h>
#include <signal.h>
#include <sys/wait.h>

#include "harness/web.h"

static redis_server_t *new_server(const char *dir, const char *kind)
{
    redis_server_t *server = calloc(1, sizeof(*server));
    if (server == NULL)
        abort();
    server->port = web_free_port();
    snprintf(server->config, sizeof(server->config), "%s/%s-%u.conf", dir, kind, server->port);
    snprintf(server->log, sizeof(server->log), "%s/%s-%u.log", dir, kind, server->port);
    return server;
}

static FILE *open_config(const redis_server_t *server)
{
    FILE *out = fopen(server->config, "we");
    EXPECT(out != NULL, "cannot write %s", server->config);
    fprintf(out, "port %u\nbind 127.0.0.1\nprotected-mode no\ndaemonize no\n", server->port);
    return out;
}

static bool answers(const redis_server_t *server)
{
    const char *answer = redis_server_ask(server, "PING");
    return answer != NULL && strcmp(answer, "PONG") == 0;
}

void redis_server_again(redis_server_t *server)
{
    bool sentinel = server->socket[0] == '\0';
    const char *arguments[] = {"redis-server", server->config, sentinel ? "--sentinel" : NULL,
                               NULL};
    if (server->pid != 0)
        redis_server_kill(server);
    server->pid = process_spawn(arguments, server->log, NULL);
    WAIT_UNTIL(answers(server));
}

redis_server_t *redis_server_start(const char *dir)
{
    redis_server_t *server = new_server(dir, "redis");
    int n = snprintf(server->socket, sizeof(server->socket), "%s/redis-%u.sock", dir, server->port);
    EXPECT(n < (int)sizeof(server->socket), "too long for a socket: %s", dir);
    FILE *out = open_config(server);
    fprintf(out,
            "unixsocket \"%s\"\nunixsocketperm 700\ndir \"%s\"\nsave \"\"\nappendonly yes\n"
            "appendfsync always\nmaxmemory-policy noeviction\nrepl-diskless-sync-delay 0\n"
            "appenddirname \"aof-%u\"\ndbfilename \"redis-%u.rdb\"\n",
            server->socket, dir, server->port, server->port);
    fclose(out);
    redis_server_again(server);
    return server;
}

redis_server_t *redis_sentinel_start(const char *dir, const redis_server_t *master,
                                     const char *script)
{
    redis_server_t *server = new_server(dir, "sentinel");
    FILE *out = open_config(server);
    fprintf(out,
            "dir \"%s\"\nsentinel monitor gate 127.0.0.1 %u 2\n"
            "sentinel down-after-milliseconds gate 1000\nsentinel failover-timeout gate 5000\n"
            "sentinel client-reconfig-script gate \"%s\"\n",
            dir, master->port, script);
    fclose(out);
    redis_server_again(server);
    return server;
}

void redis_server_kill(redis_server_t *server)
{
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

void redis_server_free(redis_server_t *server)
{
    if (server->pid != 0)
        redis_server_kill(server);
    free(server);
}

/* --- asking --- */

static void print_reply(FILE *to, const redisReply *reply)
{
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        fprintf(to, "%lld", reply->integer);
        break;
    case REDIS_REPLY_ARRAY:
        for (size_t i = 0; i < reply->elements; ++i) {
            print_reply(to, reply->element[i]);
            fputc('\n', to);
        }
        break;
    case REDIS_REPLY_NIL:
        break;
    default:
        fprintf(to, "%s%s", reply->type == REDIS_REPLY_ERROR ? "-" : "", reply->str);
    }
}

const char *redis_server_ask(const redis_server_t *server, const char *format, ...)
{
    struct timeval timeout = {2, 0};
    va_list arguments;
    redisContext *redis = redisConnectWithTimeout("127.0.0.1", (int)server->port, timeout);
    if (redis == NULL || redis->err != 0) {
        redisFree(redis);
        return NULL;
    }
    redisSetTimeout(redis, timeout);
    va_start(arguments, format);
    redisReply *reply = redisvCommand(redis, format, arguments);
    va_end(arguments);
    char *text = NULL;
    size_t size;
    if (reply != NULL) {
        FILE *to = open_memstream(&text, &size);
        print_reply(to, reply);
        fclose(to);
        test_keep(text, free);
        freeReplyObject(reply);
    }
    redisFree(redis);
    return text;
}

const char *redis_server_info(const redis_server_t *server, const char *field)
{
    const char *all = redis_server_ask(server, "INFO");
    const char *at = all == NULL ? NULL : strstr(all, test_text("\r\n%s:", field));
    if (at == NULL)
        return "";
    at += strlen(field) + 3;
    return test_text("%.*s", (int)strcspn(at, "\r\n"), at);
}
