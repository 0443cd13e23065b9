#include "catalogue.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the rows -------------------------------------------------------------------- */

#define OK_HEAD       "HTTP/1.1 200 OK\r\n"
#define CARD          "{\"data\":{\"value\":\"1\",\"name\":null},\"meta\":[]}"
#define GOOD          OK_HEAD "Content-Length: 44\r\n\r\n" CARD
#define EMPTY(status) "HTTP/1.1 " status "\r\nContent-Length: 0\r\n\r\n"
#define TO_END(body)  OK_HEAD "\r\n" body
#define CHUNKED       OK_HEAD "Transfer-Encoding: chunked\r\n\r\n"
#define STATUS(line)  "HTTP/1.1 " line "\r\nContent-Length: 2\r\n\r\n{}"
#define HTML(status)  "HTTP/1.1 " status "\r\nContent-Type: text/html\r\n" PAGE
#define PAGE          "Content-Length: 27\r\n\r\n<html><p>Sorry</p></html>\r\n"
#define ENVELOPE(status)                                                                 \
  "HTTP/1.1 " status "\r\nContent-Length: 28\r\n\r\n{\"message\":\"no\",\"code\":1003}"
#define UNKNOWN_CODE(status)                                                             \
  "HTTP/1.1 " status "\r\nContent-Length: 29\r\n\r\n{\"message\":\"no\",\"code\":98765}"
#define MESSAGE(status)                                                                  \
  "HTTP/1.1 " status "\r\nContent-Length: 16\r\n\r\n{\"message\":\"no\"}"
#define THROTTLED(header)                                                                \
  "HTTP/1.1 429 Too Many Requests\r\n" header                                            \
  "Content-Length: 16\r\n\r\n{\"message\":\"no\"}"
#define REDIRECT(status, to)                                                             \
  "HTTP/1.1 " status " Elsewhere\r\nLocation: " to "\r\nContent-Length: 0\r\n\r\n"
#define PROXY_SAYS(line) "HTTP/1.1 " line "\r\nContent-Length: 3\r\n\r\nno\n"
#define BLANKS           "                                                                "
#define ONLY(mode)       (1U << (mode))

/* clang-format off */
#define DOES(...) .fault = {.steps = {__VA_ARGS__}}
#define GATE(...) .fault = {.steps = {__VA_ARGS__}, .at_gate = true}

const row rows[] = {
  { 1, "refuses connections", AGAIN, LEAT_CONNECTION, .fault = {.accept_mode = BAD_REFUSES},
    .modes = ONLY(FIND_ALWAYS) | ONLY(CREATE_ALWAYS)},
  { 2, "a SYN black hole (its accept queue is full)", AGAIN, LEAT_TIMEOUT, .fault = {.accept_mode = BAD_IGNORES},
    .modes = ONLY(FIND_ALWAYS) | ONLY(CREATE_ALWAYS)},
  { 3, "DNS: no such name", AGAIN, LEAT_CONNECTION, .route = NAME},
  { 3, "DNS: no response", .why = "the system's resolver keeps its own time, and no test may wait for it"},
  { 4, "accepts, closes without a reply", CUT, LEAT_CONNECTION, DOES(CLOSES)},
  { 4, "closes as the request begins", CUT, LEAT_CONNECTION, GATE(HEAR, CLOSES)},
  { 5, "accepts, resets", CUT, LEAT_CONNECTION, DOES(RESETS)},
  { 5, "resets as the request begins", CUT, LEAT_CONNECTION, GATE(HEAR, RESETS)},
  { 6, "a kept connection is closed as it is used", CUT, LEAT_CONNECTION, DOES(CLOSES), .connection_state = KEPT},
  { 7, "a kept connection is reset as it is used", CUT, LEAT_CONNECTION, DOES(RESETS), .connection_state = KEPT},
  { 8, "a kept connection was closed earlier", FINE, LEAT_OK, DOES(SAY(GOOD), CLOSES), .connection_state = SPOILT},
  { 9, "Connection: close", FINE, LEAT_OK,
    DOES(SAY(OK_HEAD "Connection: close\r\nContent-Length: 44\r\n\r\n" CARD), CLOSES)},
  { 9, "Connection: close, and it stays", FINE, LEAT_OK,
    DOES(SAY(OK_HEAD "Connection: close\r\nContent-Length: 44\r\n\r\n" CARD), HANG), .last = true},
  {10, "closes after the reply, unannounced", FINE, LEAT_OK, DOES(SAY(GOOD), CLOSES)},
  {11, "half a status line, then closes", CUT, LEAT_CONNECTION, DOES(SAY("HTTP/1.1 20"), CLOSES)},
  {12, "closes within the headers", CUT, LEAT_CONNECTION, DOES(SAY(OK_HEAD "Content-Le"), CLOSES)},
  {13, "resets within the headers", CUT, LEAT_CONNECTION, DOES(SAY(OK_HEAD "Content-Le"), RESETS)},
  {14, "a body shorter than its length", CUT, LEAT_CONNECTION,
    DOES(SAY(OK_HEAD "Content-Length: 44\r\n\r\n{\"data\":"), CLOSES)},
  {15, "resets within the body", CUT, LEAT_CONNECTION,
    DOES(SAY(OK_HEAD "Content-Length: 44\r\n\r\n{\"data\":"), RESETS)},
  {16, "a length that cuts the body", LOST, LEAT_PROTOCOL, DOES(SAY(OK_HEAD "Content-Length: 20\r\n\r\n" CARD))},
  {17, "a negative length", LOST, LEAT_PROTOCOL, DOES(SAY(OK_HEAD "Content-Length: -44\r\n\r\n" CARD))},
  {17, "a length that is no number", LOST, LEAT_PROTOCOL, DOES(SAY(OK_HEAD "Content-Length: all\r\n\r\n" CARD))},
  {18, "a length beyond 64 bits", LOST, LEAT_PROTOCOL,
    DOES(SAY(OK_HEAD "Content-Length: 18446744073709551660\r\n\r\n" CARD))},
  {19, "two different lengths", LOST, LEAT_PROTOCOL,
    DOES(SAY(OK_HEAD "Content-Length: 20\r\nContent-Length: 44\r\n\r\n" CARD))},
  {20, "a length and chunks", LOST, LEAT_PROTOCOL,
    DOES(SAY(OK_HEAD "Content-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n2c\r\n" CARD "\r\n0\r\n\r\n"))},
  {21, "no length, and closes", FINE, LEAT_OK, DOES(SAY(TO_END(CARD)), CLOSES)},
  {22, "no length, and hangs", TIMES_OUT, LEAT_TIMEOUT, DOES(SAY(TO_END(CARD)), HANG)},
  {23, "no length, and the body is cut", LOST, LEAT_PROTOCOL, DOES(SAY(TO_END("{\"data\":{\"value\"")), CLOSES)},
  {24, "cut within a chunk", CUT, LEAT_CONNECTION, DOES(SAY(CHUNKED "2c\r\n{\"data\":"), CLOSES)},
  {24, "no last chunk", CUT, LEAT_CONNECTION, DOES(SAY(CHUNKED "2c\r\n" CARD "\r\n"), CLOSES)},
  {25, "a chunk size that is none", LOST, LEAT_PROTOCOL, DOES(SAY(CHUNKED "xyz\r\n" CARD "\r\n0\r\n\r\n"))},
  {25, "a huge chunk size", LOST, LEAT_TOO_LARGE, DOES(SAY(CHUNKED "FFFFFFFFFFFFFFFF\r\n" CARD))},
  {25, "blanks behind a chunk size", FINE, LEAT_OK, DOES(SAY(CHUNKED "2c  \r\n" CARD "\r\n0 \r\n\r\n"))},
  {26, "an encoding that is none", FINE, LEAT_OK,
    DOES(SAY(OK_HEAD "Content-Encoding: none\r\nContent-Length: 44\r\n\r\n" CARD))},
  {26, "an unknown Transfer-Encoding", LOST, LEAT_PROTOCOL,
    DOES(SAY(OK_HEAD "Transfer-Encoding: br\r\n\r\n" CARD), CLOSES)},
  {26, "an unknown Content-Encoding", LOST, LEAT_PROTOCOL,
    DOES(SAY(OK_HEAD "Content-Encoding: br\r\nContent-Length: 44\r\n\r\n" CARD))},
  {27, "gzip unasked: whole", LOST, LEAT_PROTOCOL,
    DOES(SAY(OK_HEAD "Content-Encoding: gzip\r\nContent-Length: 22\r\n\r\n"
             "\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0\x43\xbf\xa6\xa3\x02\0\0\0"))},
  {27, "gzip unasked: no trailer", LOST, LEAT_PROTOCOL,
    DOES(SAY(OK_HEAD "Content-Encoding: gzip\r\nContent-Length: 14\r\n\r\n"
             "\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0"))},
  {27, "gzip unasked: garbage", LOST, LEAT_PROTOCOL,
    DOES(SAY(OK_HEAD "Content-Encoding: gzip\r\nContent-Length: 44\r\n\r\n" CARD))},
  {28, "20 stacked encodings", LOST, LEAT_PROTOCOL,
    DOES(SAY(OK_HEAD "Content-Encoding: gzip"), TIMES(19, ", gzip"), SAY("\r\nContent-Length: 44\r\n\r\n" CARD))},
  {29, "a gzip bomb (refused unopened)", LOST, LEAT_PROTOCOL,
    DOES(SAY(OK_HEAD "Content-Encoding: gzip\r\nContent-Length: 200000\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\x03"),
         TIMES(199990, "\0"))},
  {30, "100 MB, declared", LOST, LEAT_TOO_LARGE,
    DOES(SAY(OK_HEAD "Content-Length: 104857600\r\n\r\n"), TIMES(1638400, BLANKS))},
  {31, "100 MB in chunks", LOST, LEAT_TOO_LARGE,
    DOES(SAY(CHUNKED), TIMES(1638400, "40\r\n" BLANKS "\r\n"), SAY("0\r\n\r\n"))},
  {31, "100 MB to the end of the connection", LOST, LEAT_TOO_LARGE,
    DOES(SAY(TO_END("")), TIMES(1638400, BLANKS), CLOSES)},
  {32, "one header of 200 kB", LOST, LEAT_TOO_LARGE,
    DOES(SAY(OK_HEAD "X-Long: "), TIMES(200000, "x"), SAY("\r\nContent-Length: 44\r\n\r\n" CARD))},
  {33, "20,000 headers", LOST, LEAT_TOO_LARGE,
    DOES(SAY(OK_HEAD), TIMES(20000, "X-Some: h\r\n"), SAY("Content-Length: 44\r\n\r\n" CARD))},
  {34, "headers without an end", LOST, LEAT_TOO_LARGE, DOES(SAY(OK_HEAD), ENDLESS("X-Some: thing\r\n"))},
  {34, "a header without an end", LOST, LEAT_TOO_LARGE, DOES(SAY(OK_HEAD "X-Long: "), ENDLESS("x"))},
  {35, "a NUL in a header", LOST, LEAT_PROTOCOL,
    DOES(SAY(OK_HEAD "X-Nul: a\0b\r\nContent-Length: 44\r\n\r\n" CARD))},
  {35, "a header without a colon", LOST, LEAT_PROTOCOL,
    DOES(SAY(OK_HEAD "X-None\r\nContent-Length: 44\r\n\r\n" CARD))},
  {36, "a folded header", LOST, LEAT_PROTOCOL,
    DOES(SAY(OK_HEAD "X-Long: a\r\n b\r\nContent-Length: 44\r\n\r\n" CARD))},
  {37, "HTTP/0.9", LOST, LEAT_PROTOCOL, DOES(SAY("<html>Hello</html>"), CLOSES)},
  {37, "a mail server's banner", LOST, LEAT_PROTOCOL, DOES(SAY("220 mail.example ESMTP\r\n"))},
  {38, "status 000", LOST, LEAT_PROTOCOL, DOES(SAY(STATUS("000 No")))},
  {38, "status 20", LOST, LEAT_PROTOCOL, DOES(SAY(STATUS("20 OK")))},
  {38, "HTTP/9.9", LOST, LEAT_PROTOCOL, DOES(SAY("HTTP/9.9 200 OK\r\nContent-Length: 44\r\n\r\n" CARD))},
  {39, "status 999", LOST, LEAT_PROTOCOL, DOES(SAY(STATUS("999 Denied")))},
  {40, "100, then 200", FINE, LEAT_OK, DOES(SAY("HTTP/1.1 100 Continue\r\n\r\n" GOOD))},
  {40, "103, then 200", FINE, LEAT_OK, DOES(SAY("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" GOOD))},
  {41, "100 without an end", LOST, LEAT_PROTOCOL, DOES(ENDLESS("HTTP/1.1 100 Continue\r\n\r\n"))},
  {42, "101 Switching Protocols", LOST, LEAT_PROTOCOL,
    DOES(SAY("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"), HANG)},
  {43, "204", LOST, LEAT_PROTOCOL, DOES(SAY("HTTP/1.1 204 No Content\r\n\r\n"))},
  {43, "204 with a body", LOST, LEAT_PROTOCOL,
    DOES(SAY("HTTP/1.1 204 No Content\r\nContent-Length: 44\r\n\r\n" CARD))},
  {43, "205", LOST, LEAT_PROTOCOL, DOES(SAY(EMPTY("205 Reset Content")))},
  {44, "304", KNOWN, LEAT_PROTOCOL, DOES(SAY("HTTP/1.1 304 Not Modified\r\n\r\n"))},
  {45, "200 with nothing", LOST, LEAT_PROTOCOL, DOES(SAY(EMPTY("200 OK")))},
  {46, "200 with HTML", LOST, LEAT_PROTOCOL, DOES(SAY(HTML("200 OK")))},
  {47, "JSON by another name", FINE, LEAT_OK,
    DOES(SAY(OK_HEAD "Content-Type: text/html\r\nContent-Length: 44\r\n\r\n" CARD))},
  {48, "invalid UTF-8", LOST, LEAT_PROTOCOL,
    DOES(SAY(TO_END("{\"data\":{\"value\":\"1\",\"x\":\"\xff\"}}")), CLOSES)},
  {48, "a lone surrogate", LOST, LEAT_PROTOCOL,
    DOES(SAY(TO_END("{\"data\":{\"value\":\"1\",\"x\":\"\\ud800\"}}")), CLOSES)},
  {48, "a byte order mark", FINE, LEAT_OK, DOES(SAY(TO_END("\xef\xbb\xbf" CARD)), CLOSES)},
  {48, "a raw NUL", LOST, LEAT_PROTOCOL,
    DOES(SAY(TO_END("{\"data\":{\"value\":\"1\",\"x\":\"\0\"}}")), CLOSES)},
  {49, "a name twice", LOST, LEAT_PROTOCOL,
    DOES(SAY(TO_END("{\"data\":{\"value\":\"2\",\"value\":\"1\"}}")), CLOSES)},
  {49, "a name twice that nothing reads", FINE, LEAT_OK,
    DOES(SAY(TO_END("{\"data\":{\"value\":\"1\",\"x\":1,\"x\":2},\"meta\":[]}")), CLOSES)},
  {50, "nesting of 33", LOST, LEAT_PROTOCOL,
    DOES(SAY(TO_END("{\"data\":{\"value\":\"1\",\"x\":")), TIMES(31, "["), TIMES(31, "]"), SAY("}}"), CLOSES)},
  {50, "nesting of 5,000", LOST, LEAT_PROTOCOL,
    DOES(SAY(TO_END("{\"data\":{\"value\":\"1\",\"x\":")), TIMES(5000, "["), TIMES(5000, "]"), SAY("}}"), CLOSES)},
  {51, "an integer beyond 64 bits", FINE, LEAT_OK,
    DOES(SAY(TO_END("{\"data\":{\"value\":\"1\",\"x\":9223372036854775808}}")), CLOSES)},
  {51, "1e400", FINE, LEAT_OK, DOES(SAY(TO_END("{\"data\":{\"value\":\"1\",\"x\":1e400}}")), CLOSES)},
  {51, "a code that is a string", KNOWN, LEAT_CONTACT_NOT_FOUND,
    DOES(SAY("HTTP/1.1 400 No\r\nContent-Length: 32\r\n\r\n{\"message\":\"no\",\"code\":\"55031\"} "))},
  {51, "a code that is no integer", KNOWN, LEAT_INVALID_INPUT,
    DOES(SAY("HTTP/1.1 400 No\r\nContent-Length: 32\r\n\r\n{\"message\":\"no\",\"code\":55031.5} "))},
  {52, "no data", LOST, LEAT_PROTOCOL, DOES(SAY(TO_END("{\"meta\":[]}")), CLOSES)},
  {52, "data that is null", LOST, LEAT_PROTOCOL, DOES(SAY(TO_END("{\"data\":null}")), CLOSES)},
  {52, "data that is an array", LOST, LEAT_PROTOCOL, DOES(SAY(TO_END("{\"data\":[]}")), CLOSES)},
  {52, "meta that is an object, and fields unknown", FINE, LEAT_OK,
    DOES(SAY(TO_END("{\"data\":{\"value\":\"1\",\"new\":7},\"meta\":{\"a\":1}}")), CLOSES)},
  {53, "bytes behind the JSON", LOST, LEAT_PROTOCOL, DOES(SAY(TO_END(CARD "{}")), CLOSES)},
  {54, "another response behind it", FINE, LEAT_OK, DOES(SAY(GOOD EMPTY("500 Split"))), .last = true},
  {55, "a response about another card", LOST, LEAT_PROTOCOL,
    DOES(SAY(OK_HEAD "Content-Length: 26\r\n\r\n{\"data\":{\"value\":\"other\"}}"))},
  {55, "the response comes after the timeout", TIMES_OUT, LEAT_TIMEOUT, DOES(WAIT(2200), SAY(GOOD))},
  {56, "301", KNOWN, LEAT_REDIRECT, DOES(SAY(REDIRECT("301", "/login")))},
  {56, "302 to another host", KNOWN, LEAT_REDIRECT, DOES(SAY(REDIRECT("302", "https://login.example/")))},
  {56, "303", KNOWN, LEAT_REDIRECT, DOES(SAY(REDIRECT("303", "//login.example/")))},
  {56, "307 to a file", KNOWN, LEAT_REDIRECT, DOES(SAY(REDIRECT("307", "file:///etc/passwd")))},
  {56, "308 in a loop", KNOWN, LEAT_REDIRECT, DOES(SAY(REDIRECT("308", "")))},
  {57, "400 with a code", KNOWN, LEAT_INVALID_INPUT, DOES(SAY(ENVELOPE("400 Bad Request")))},
  {57, "404 with an envelope", KNOWN, LEAT_CONFIG, DOES(SAY(MESSAGE("404 Not Found")))},
  {57, "409 with an envelope", KNOWN, LEAT_PROTOCOL, DOES(SAY(MESSAGE("409 Conflict")))},
  {57, "422 with an envelope", KNOWN, LEAT_INVALID_INPUT, DOES(SAY(MESSAGE("422 Unprocessable")))},
  {58, "401", KNOWN, LEAT_UNAUTHORIZED, DOES(SAY(MESSAGE("401 Unauthorized")))},
  {58, "403", KNOWN, LEAT_FORBIDDEN, DOES(SAY(MESSAGE("403 Forbidden")))},
  {58, "401 of something in between", LOST, LEAT_PROTOCOL, DOES(SAY(HTML("401 Unauthorized")))},
  {58, "403 of something in between", LOST, LEAT_PROTOCOL, DOES(SAY(HTML("403 Forbidden")))},
  {58, "403 with an unknown code", KNOWN, LEAT_FORBIDDEN, DOES(SAY(UNKNOWN_CODE("403 Forbidden")))},
  {59, "408", CUT, LEAT_SERVER, DOES(SAY(EMPTY("408 Request Timeout\r\nConnection: close")), CLOSES)},
  {59, "425", AGAIN, LEAT_SERVER, DOES(SAY(EMPTY("425 Too Early")))},
  {60, "413 before all was sent, then closes", KNOWN, LEAT_TOO_LARGE, .large = true,
    .fault = {.steps = {SAY(HTML("413 Too Large")), SHUT, HANG}, .early = true}},
  {61, "429, Retry-After: 1", AGAIN, LEAT_RATE_LIMITED, DOES(SAY(THROTTLED("Retry-After: 1\r\n")))},
  {61, "429 with an unknown code", AGAIN, LEAT_RATE_LIMITED, DOES(SAY(UNKNOWN_CODE("429 Too Many Requests")))},
  {61, "429, Retry-After: a date that is past", AGAIN, LEAT_RATE_LIMITED,
    DOES(SAY(THROTTLED("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n")))},
  {61, "429, Retry-After: year 9999", KNOWN, LEAT_RATE_LIMITED,
    DOES(SAY(THROTTLED("Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n"))), .pauses = true},
  {61, "429, Retry-After: -5", AGAIN, LEAT_RATE_LIMITED, DOES(SAY(THROTTLED("Retry-After: -5\r\n")))},
  {61, "429, Retry-After: 1.5", AGAIN, LEAT_RATE_LIMITED, DOES(SAY(THROTTLED("Retry-After: 1.5\r\n")))},
  {61, "429, Retry-After: abc", AGAIN, LEAT_RATE_LIMITED, DOES(SAY(THROTTLED("Retry-After: abc\r\n")))},
  {61, "429, Retry-After: 20 digits", KNOWN, LEAT_RATE_LIMITED,
    DOES(SAY(THROTTLED("Retry-After: 99999999999999999999\r\n"))), .pauses = true},
  {61, "429, Retry-After twice: the first counts", AGAIN, LEAT_RATE_LIMITED,
    DOES(SAY(THROTTLED("Retry-After: 0\r\nRetry-After: 999\r\n")))},
  {62, "429 without Retry-After", AGAIN, LEAT_RATE_LIMITED, DOES(SAY(THROTTLED("")))},
  {62, "429, X-RateLimit headers malformed", AGAIN, LEAT_RATE_LIMITED,
    DOES(SAY(THROTTLED("X-RateLimit-Limit: lots\r\nX-RateLimit-Remaining: -1\r\nX-RateLimit-Reset: soon\r\n")))},
  {63, "500, plain", CUT, LEAT_SERVER, DOES(SAY(EMPTY("500 Oops")))},
  {63, "500 with an envelope", CUT, LEAT_SERVER, DOES(SAY(MESSAGE("500 Oops")))},
  {64, "502 from a gateway", CUT, LEAT_SERVER, DOES(SAY(HTML("502 Bad Gateway")))},
  {64, "504 from a gateway", CUT, LEAT_SERVER, DOES(SAY(HTML("504 Gateway Timeout")))},
  {65, "503 with Retry-After: 1, HTML", CUT, LEAT_MAINTENANCE,
    DOES(SAY("HTTP/1.1 503 Down\r\nRetry-After: 1\r\nContent-Type: text/html\r\n" PAGE))},
  {65, "503, JSON", CUT, LEAT_MAINTENANCE, DOES(SAY(MESSAGE("503 Down")))},
  {65, "503, empty", CUT, LEAT_MAINTENANCE, DOES(SAY(EMPTY("503 Down")))},
  {66, "a black hole after the request", TIMES_OUT, LEAT_TIMEOUT, DOES(HANG)},
  {66, "a black hole from the first byte on", TIMES_OUT, LEAT_TIMEOUT, GATE(HANG)},
  {67, "headers, a byte now and then", TIMES_OUT, LEAT_TIMEOUT, DOES(DRIP(40, GOOD))},
  {67, "a body, a byte now and then", TIMES_OUT, LEAT_TIMEOUT,
    DOES(SAY(OK_HEAD "Content-Length: 44\r\n\r\n"), DRIP(80, CARD))},
  {68, "applied, then a reset", CUT, LEAT_CONNECTION, DOES(RESETS), .modes = ONLY(CREATE_APPLIED)},
  {68, "applied, then it hangs", TIMES_OUT, LEAT_TIMEOUT, DOES(HANG), .modes = ONLY(CREATE_APPLIED)},
  {68, "applied, then 500", CUT, LEAT_SERVER, DOES(SAY(EMPTY("500 Oops"))), .modes = ONLY(CREATE_APPLIED)},
  {68, "applied, then 502", CUT, LEAT_SERVER, DOES(SAY(HTML("502 Bad Gateway"))), .modes = ONLY(CREATE_APPLIED)},
  {69, "applied late: the second find sees it", CUT, LEAT_CONNECTION,
    .fault = {.steps = {CLOSES}, .late = 1}, .modes = ONLY(CREATE_APPLIED)},
  {69, "applied late: 60006 as it is sent again", CUT, LEAT_CONNECTION,
    .fault = {.steps = {CLOSES}, .late = 2}, .modes = ONLY(CREATE_APPLIED), .sends = 2},
  {70, "finds lag: the second sees it", CUT, LEAT_CONNECTION,
    .fault = {.steps = {CLOSES}, .lag = 1}, .modes = ONLY(CREATE_APPLIED)},
  {70, "finds lag: 60006, and then two more", CUT, LEAT_CONNECTION,
    .fault = {.steps = {CLOSES}, .lag = 3}, .modes = ONLY(CREATE_APPLIED), .sends = 2},
  {71, "finding it fails too", CUT, LEAT_CONNECTION,
    .fault = {.steps = {CLOSES}, .finds = {SAY(EMPTY("500 Oops"))}}, .modes = ONLY(CREATE_ALWAYS)},
  {72, "TLS: expired", KNOWN, LEAT_TLS, GATE(CLOSES), .route = TLS, .front = "expired"},
  {72, "TLS: not yet valid", KNOWN, LEAT_TLS, GATE(CLOSES), .route = TLS, .front = "not yet"},
  {72, "TLS: another host's", KNOWN, LEAT_TLS, GATE(CLOSES), .route = TLS, .front = "other host"},
  {72, "TLS: self-signed", KNOWN, LEAT_TLS, GATE(CLOSES), .route = TLS, .front = "self-signed"},
  {72, "TLS: of an unknown authority", KNOWN, LEAT_TLS, GATE(CLOSES), .route = TLS, .front = "stranger"},
  {73, "TLS: ca_file is missing", KNOWN, LEAT_CONFIG, .route = NO_CA},
  {74, "TLS 1.1 only", KNOWN, LEAT_TLS, GATE(CLOSES), .route = TLS, .front = "tls 1.1"},
  {75, "plain HTTP on the TLS port, which complains", KNOWN, LEAT_TLS,
    GATE(HEAR, SAY(HTML("400 Bad Request")), HANG), .route = TLS},
  {75, "plain HTTP on the TLS port, which is silent", AGAIN, LEAT_TIMEOUT, GATE(HANG), .route = TLS},
  {76, "TLS: closes in the handshake", AGAIN, LEAT_CONNECTION, GATE(HEAR, CLOSES), .route = TLS},
  {76, "TLS: resets in the handshake", AGAIN, LEAT_CONNECTION, GATE(HEAR, RESETS), .route = TLS},
  {76, "TLS: hangs in the handshake", AGAIN, LEAT_TIMEOUT, GATE(HEAR, HANG), .route = TLS},
  {77, "TLS ends without goodbye: a short body", CUT, LEAT_CONNECTION,
    DOES(SAY(OK_HEAD "Content-Length: 44\r\n\r\n{\"data\":"), CLOSES), .route = TLS_CUT},
  {77, "TLS ends without goodbye: no length, cut", LOST, LEAT_PROTOCOL,
    DOES(SAY(TO_END("{\"data\":{\"value\"")), CLOSES), .route = TLS_CUT, .cut = UNSEEN},
  {77, "TLS ends without goodbye: no length, cut, and libcurl reports it", CUT, LEAT_CONNECTION,
    DOES(SAY(TO_END("{\"data\":{\"value\"")), CLOSES), .route = TLS_CUT, .cut = SEEN},
  {77, "TLS ends without goodbye: the length is there", FINE, LEAT_OK, DOES(SAY(GOOD), CLOSES), .route = TLS_CUT},
  {78, "HTTP/2: GOAWAY", .why = "HTTP/2 is never spoken: ALPN offers http/1.1 only"},
  {79, "HTTP/2: RST_STREAM, REFUSED_STREAM", .why = "HTTP/2 is never spoken: ALPN offers http/1.1 only"},
  {80, "HTTP/2: RST_STREAM of other kinds", .why = "HTTP/2 is never spoken: ALPN offers http/1.1 only"},
  {81, "proxy: 407", KNOWN, LEAT_CONFIG,
    GATE(HEAR, SAY(PROXY_SAYS("407 Who?")), HANG), .route = PROXY},
  {81, "proxy: 502", AGAIN, LEAT_CONNECTION,
    GATE(HEAR, SAY(PROXY_SAYS("502 Bad Gateway")), HANG), .route = PROXY},
  {81, "proxy: resets", AGAIN, LEAT_CONNECTION, GATE(HEAR, RESETS), .route = PROXY},
  {82, "the clock jumps", AGAIN, LEAT_MAINTENANCE, .route = SEPARATE},
  {83, "the process forks", FINE, LEAT_OK, .route = SEPARATE},
  {83, "the process sleeps for an hour", .why = "an hour can't be waited for; row 8 is what is left of it"},
  {84, "no descriptors left", KNOWN, LEAT_LOCAL, .route = NO_FDS},
};
/* clang-format on */

_Static_assert(sizeof rows / sizeof rows[0] == ROWS, "ROWS in catalogue.h");

/* ---- expected results ------------------------------------------------------------ */

bool sees_cut;

bool has_mode(const row *r, mode m) {
  if (r->why || r->route == SEPARATE) return false;
  if (r->cut == (sees_cut ? UNSEEN : SEEN)) return false;
  if (r->modes) return (r->modes & ONLY(m)) != 0;
  if (r->expected == FINE) return m == FIND_ALWAYS || m == CREATE_APPLIED;
  bool may_apply = r->expected != KNOWN && r->expected != AGAIN && !r->fault.at_gate;
  return m != CREATE_APPLIED || may_apply;
}

/* The result if nothing was applied, or if the operation may be retried in any case. */
static ending retried(const row *r, mode m) {
  if (is_always(m)) return (ending){r->kind, false, false, 3};
  return (ending){LEAT_OK, m == CREATE_APPLIED, false, 2};
}

/* The result of a create whose response was lost: it is verified, and retried once it is
** certain that no card exists. Two verifying finds are one second apart; after a timeout
** there is no time for both. */
static ending verified(const row *r, mode m) {
  bool in_vain = m == CREATE_ALWAYS || (m == CREATE_LOST && r->expected == TIMES_OUT);
  if (in_vain) return (ending){r->kind, false, true, 1};
  int sends = r->sends ? r->sends : m == CREATE_LOST ? 2 : 1;
  return (ending){LEAT_OK, m == CREATE_APPLIED, false, sends};
}

ending expect(const row *r, mode m) {
  const ending fine = {LEAT_OK, false, false, 1}, fails = {r->kind, false, false, 1};
  switch (r->expected) {
    case FINE: return fine;
    case KNOWN: return fails;
    case AGAIN: return retried(r, m);
    case CUT: return creates(m) ? verified(r, m) : retried(r, m);
    case LOST:
    case TIMES_OUT: break;
  }
  return creates(m) ? verified(r, m) : fails;
}

bool is_unseen(const row *r) {
  return r->fault.at_gate || r->fault.accept_mode || r->route == NAME ||
         r->route == NO_CA || r->route == NO_FDS;
}

int expect_seen(const row *r, mode m) {
  int sends = expect(r, m).sends;
  if (!is_unseen(r)) return sends;
  return is_always(m) ? 0 : sends - 1;
}

const char *const mode_names[MODES] = {"find, once", "find, always", "create, lost once",
                                       "create, applied once", "create, always"};

/* ---- the servers ----------------------------------------------------------------- */

certificates certs;
proxy_server proxy;
bad_server service;
char no_ca_file[] = "/tmp/leat-no-ca-XXXXXX";

/* The TLS servers, by name; all connect to the service. */
static struct front {
  const char *name;
  tls_options options;
  tls_server server;
} fronts[] = {{.name = "good", {.identity = &certs.good}},
              {.name = "cut", {.identity = &certs.good, .cut = true}},
              {.name = "expired", {.identity = &certs.expired}},
              {.name = "not yet", {.identity = &certs.not_yet}},
              {.name = "other host", {.identity = &certs.other_host}},
              {.name = "self-signed", {.identity = &certs.self_signed}},
              {.name = "stranger", {.identity = &certs.of_stranger}},
              {.name = "tls 1.1", {.identity = &certs.good, .priority = TLS_1_1}}};
enum { FRONTS = sizeof fronts / sizeof fronts[0] };

int port_of(const char *name) {
  for (int i = 0; i < FRONTS; i++)
    if (strcmp(fronts[i].name, name) == 0) return fronts[i].server.at.port;
  return 0;
}

bool open_catalogue(bad_case *cases, size_t count) {
  memcpy(strrchr(no_ca_file, '-'), "-XXXXXX", 7); /* opened before, it has a name */
  bool good = close(mkstemp(no_ca_file)) == 0 && certificates_make(&certs) &&
              bad_start(&service, cases, count) &&
              proxy_start(&proxy, &(proxy_options){0});
  for (int i = 0; good && i < FRONTS; i++)
    good = tls_start(&fronts[i].server, &fronts[i].options, service.port);
  return good;
}

void close_catalogue(void) {
  for (int i = 0; i < FRONTS; i++)
    tls_stop(&fronts[i].server);
  proxy_stop(&proxy);
  bad_stop(&service);
  certificates_remove(&certs);
  unlink(no_ca_file);
}

void connect_gate(const row *r, bad_case *at) {
  if (r->route == PROXY) at->good_port = proxy.at.port;
  if (r->route != TLS) return;
  at->good_port = port_of("good");
  if (r->front) at->bad_port = port_of(r->front);
}
