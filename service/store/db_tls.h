/*
 * TLS of the connections to MySQL: mysql.tls and the files beside it. Here is what differs between
 * the client libraries of MariaDB and of Oracle.
 *
 * Blocks no more than mysql_options() does; the thread that owns the connection calls.
 */
#ifndef HOLDFAST_STORE_DB_TLS_H
#define HOLDFAST_STORE_DB_TLS_H

#include <mysql.h>

#include "config/config.h"

/* Call between mysql_init() and mysql_real_connect(). The library reads the files at each connect,
   so that new ones need no signal. */
void db_tls_set(MYSQL *mysql, const config_t *config);
/* Call after mysql_real_connect(). True: TLS is demanded, and this connection has none. MariaDB's
   library 3.3 refuses that by itself only if the server's certificate is to be checked too. */
bool db_tls_is_missing(MYSQL *mysql, const config_t *config);

#endif
