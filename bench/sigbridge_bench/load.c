// The load of the benchmark: clients that cost as little as clients can, so that the server is what is measured.
//
// Messages arrive here encoded (JSON or protobuf) and are framed once, when they are defined: a masked WebSocket text
// frame, or an HTTP/2 DATA frame of stream 1 with a gRPC prefix. Sending one is a copy. Of what arrives, only as much is
// looked at as tells an acknowledgement from a relayed message, and its length.
//
// Commands come as lines on standard input, with as many bytes behind them as they say; each that measures has its response
// by one line of JSON on standard output. Whatever goes wrong is one line `{"error": "…"}`, and the end.
//
//   open KIND ADDRESS PORT PATH HEADERS HELLO TOKEN\n
//                                                   a connection, numbered from 0; PATH to HELLO are lengths in bytes;
//                                                   HEADERS: lines of HTTP, or of grpc the header block of its call;
//                                                   TOKEN: where in its hello a resume token stands, or 0. The one that
//                                                   it is given takes its place, so that it comes back the next time
//   message KIND LENGTH LEAST ID\n                  a message, numbered from 0; LEAST: bytes that its relayed form has;
//                                                   ID: where its id of eight digits stands, or 0. Each time it has the
//                                                   next one, since resumable peers may not say one twice
//   lane A B STEPS SIDE:MESSAGE…\n                  two connections and what they send each other, over and over
//   setup FIRST COUNT AT_ONCE\n                     connect, say hello and wait for its acknowledgement; AT_ONCE 0: hello
//                                                   only when all are connected, and then all together
//   run FIRST COUNT BURST STEPS\n                   closed loop: each lane sends BURST steps, awaits all, sends the next
//   pace FIRST COUNT RATE SECONDS ATTACK CONNECTION open loop: steps leave at their times; ATTACK: none, resets, pings,
//                                                   or MESSAGE:TIMES, which is said so often each hundredth of a second
//   storm FIRST COUNT LANE LANES RATE\n             COUNT connect and say hello at once, while LANES send as in an open loop;
//                                                   ends when the last has its acknowledgement
//   join CONNECTION FIRST COUNT\n                   one says hello; wait until COUNT others have heard of it
//   calls FIRST COUNT CALLS PHASES N…\n             calls from hello to last step, in PHASES of N steps each
//   stall FIRST COUNT\n                             connections that will read nothing once they are greeted, and hold little
//   close FIRST COUNT\n                             close connections
//   quiet\n                                         read until nothing comes any more
//
// Kinds: tcp (four bytes of length), ws (JSON-RPC), peerjs (WebSocket without acknowledgements), grpc.
// `load --polling` never sleeps while it waits for a server; it wants a core of its own. `load --echo` is a bare server for
// the kind tcp, to see what the load itself can do. `load --while PROCESS PROGRAM ARGUMENT…` is any other program, which is
// ended when that process, its parent, is.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STALL_NS 20000000000ull     // nothing happened for so long: give up
#define REFUSED_NS 10000000000ull   // the greetings of a call were refused for so long: that is meant
#define STORM_NS 60000000000ull     // a storm lasts for so long: give up
#define QUIET_NS 100000000ull       // nothing comes for so long: all is said
#define DRAIN_NS 2000000000ull      // how long an open loop waits for what is still under way
#define WINDOW (1u << 20)           // HTTP/2 receive window, of the stream and of the connection
#define CONNECTIONS 65536
#define STAGING (256u * 1024)
#define TOKEN_LETTERS 36            // of a resume token
#define ID_DIGITS 8

typedef enum { TCP, WS, PEERJS, GRPC } Kind;
typedef enum { CLOSED, CONNECTING, OPENING, OPENED, GREETING, READY } State;
typedef enum { ACK, EVENT, OTHER, REFUSAL, BAD } Class;

typedef struct {
    uint8_t *data;
    uint32_t length;   // with its frame
    uint32_t payload;  // what HTTP/2 flow control counts
    uint32_t least;
    uint32_t head;     // of its frame, before the payload
    uint32_t id;       // where its id stands, or 0
    bool masked;
} Message;

typedef struct {
    uint8_t *data;
    size_t length, room;
} Bytes;

typedef struct Lane Lane;

typedef struct {
    Kind kind;
    State state;
    int fd;
    bool hold;      // say hello only when told
    bool stalls;    // reads nothing once it is greeted
    bool watching;  // for room to write
    bool heard;     // something that is neither acknowledgement nor relay
    struct sockaddr_storage address;
    socklen_t address_length;
    Bytes opening, hello, in, out, control, grpc;
    Bytes call;  // the headers of stream 1, for those that open more
    size_t token, hello_head;  // where in its hello a resume token stands, or 0; the length of that frame's head
    bool resumes;  // the token there is one that the server has given
    Message **queue;  // ring, messages that wait to be sent
    uint32_t head, tail, ring;
    int64_t connection_window, stream_window, initial_window;
    uint32_t consumed;     // of the receive windows, since they were last opened
    uint32_t next_stream;  // of an attacker
    Lane *lane;
    int side;
} Connection;

struct Lane {
    Connection *ends[2];
    uint8_t *sides;
    uint32_t *messages;
    uint32_t steps, at;
    uint64_t left;         // steps still to send
    uint32_t outstanding;  // acknowledgements and relays still to come
    struct Times {
        uint64_t *at;
        uint32_t *least;
        uint32_t head, tail, ring;
    } times[2];            // when each message that is under way left, by direction
    uint32_t phase;
    uint64_t began;
    uint64_t refused_at;   // when the first greeting of the call was refused, or 0
};

static Connection connections[CONNECTIONS];
static uint32_t connection_count;
static Message *messages;
static uint32_t message_count;
static Lane **lanes;
static uint32_t lane_count;

static int epoll_fd;
static bool polling;
static uint64_t idle_ns;
static uint64_t bytes_in, bytes_out;
static uint64_t latest;    // when something was read last
static uint64_t progress;  // when something that is waited for came last
static uint64_t *latencies;
static size_t latency_count, latency_room;

// What is going on.
static enum { IDLE, SETUP, RUN, PACE, STORM, JOIN, CALLS } mode;
static uint32_t setup_next, setup_end, unfinished;
static uint32_t burst;
static uint64_t in_flight, heard;
static uint32_t *phases, phase_count, calls_left;
static Connection *attacker;
static uint64_t cut_off;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static double cpu_seconds(void) {
    // Not getrusage, whose clock ticks: what takes less than a tick would have cost nothing.
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    // What a server said may stand in it.
    for (char *c = text; *c; c++)
        if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\') *c = '?';
    printf("{\"error\": \"%s\"}\n", text);
    fflush(stdout);
    exit(1);
}

static void *need(void *memory) {
    if (!memory) fail("out of memory");
    return memory;
}

static void add(Bytes *bytes, const void *data, size_t length) {
    if (bytes->length + length > bytes->room) {
        bytes->room = (bytes->length + length) * 2;
        bytes->data = need(realloc(bytes->data, bytes->room));
    }
    memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
}

static void put32(uint8_t *to, uint32_t value) {
    to[0] = (uint8_t)(value >> 24), to[1] = (uint8_t)(value >> 16), to[2] = (uint8_t)(value >> 8), to[3] = (uint8_t)value;
}

static uint32_t get32(const uint8_t *from) {
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void note_latency(uint64_t ns) {
    if (latency_count == latency_room) {
        latency_room = latency_room ? latency_room * 2 : 1 << 16;
        latencies = need(realloc(latencies, latency_room * sizeof *latencies));
    }
    latencies[latency_count++] = ns;
}

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

// Seconds below which such a share of the latencies is; call after sorting them.
static double percentile(double share) {
    if (!latency_count) return 0;
    size_t at = (size_t)(share * (double)latency_count);
    return (double)latencies[at < latency_count ? at : latency_count - 1] / 1e9;
}

// Frames.

static const uint8_t mask[4] = {0x5a, 0xc3, 0x17, 0x88};

// Writes text over what a framed message holds there; `head` is the length of its frame before the payload.
static void overwrite(uint8_t *framed, size_t head, size_t at, const char *text, size_t length, bool masked) {
    for (size_t i = 0; i < length; i++) framed[at + i] = (uint8_t)text[i] ^ (masked ? mask[(at + i - head) & 3] : 0);
}

static void frame(Kind kind, const uint8_t *payload, size_t length, Bytes *out) {
    uint8_t head[14];
    if (kind == TCP) {
        put32(head, (uint32_t)length);
        add(out, head, 4);
        add(out, payload, length);
    } else if (kind == GRPC) {
        put32(head, (uint32_t)(length + 5) << 8);
        head[3] = 0, head[4] = 0;
        put32(head + 5, 1);
        head[9] = 0;
        put32(head + 10, (uint32_t)length);
        add(out, head, 14);
        add(out, payload, length);
    } else {
        size_t n = 2;
        head[0] = 0x81;
        if (length < 126) head[1] = (uint8_t)(0x80 | length);
        else if (length < 65536) head[1] = 0xfe, head[2] = (uint8_t)(length >> 8), head[3] = (uint8_t)length, n = 4;
        else head[1] = 0xff, put32(head + 2, 0), put32(head + 6, (uint32_t)length), n = 10;
        memcpy(head + n, mask, 4);
        add(out, head, n + 4);
        size_t start = out->length;
        add(out, payload, length);
        for (size_t i = 0; i < length; i++) out->data[start + i] ^= mask[i & 3];
    }
}

static void headers_frame(Bytes *out, uint32_t stream, const uint8_t *block, size_t length) {
    uint8_t head[9];
    put32(head, (uint32_t)length << 8);
    head[3] = 1, head[4] = 4;
    put32(head + 5, stream);
    add(out, head, 9);
    add(out, block, length);
}

static void window_update(Bytes *out, uint32_t stream, uint32_t by) {
    uint8_t update[13] = {0, 0, 4, 8, 0};
    put32(update + 5, stream);
    put32(update + 9, by);
    add(out, update, 13);
}

static void write_opening(Connection *c, const char *path, const char *extra, size_t extra_length, int port) {
    if (c->kind == GRPC) {
        static const uint8_t settings[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            "\0\0\x0c\4\0\0\0\0\0"   // SETTINGS
            "\0\2\0\0\0\0"           // no pushes
            "\0\4\0\x10\0\0";        // a window of 1 MiB
        add(&c->opening, settings, sizeof settings - 1);
        window_update(&c->opening, 0, WINDOW - 65535);
        headers_frame(&c->call, 1, (const uint8_t *)extra, extra_length);
        add(&c->opening, c->call.data, c->call.length);
    } else if (c->kind != TCP) {
        char request[512];
        int n = snprintf(request, sizeof request,
            "GET %s HTTP/1.1\r\nHost: localhost:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: c2lnYnJpZGdlJ3MgbG9hZA==\r\nSec-WebSocket-Version: 13\r\n", path, port);
        if (n >= (int)sizeof request) fail("the path is too long");
        add(&c->opening, request, (size_t)n);
        add(&c->opening, extra, extra_length);
        add(&c->opening, "\r\n", 2);
    }
}

// Writing.

static void interest(Connection *c) {
    uint32_t reading = c->stalls && c->state == READY ? 0u : EPOLLIN;
    struct epoll_event e = {.events = reading | (c->watching ? EPOLLOUT : 0u), .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

static void watch(Connection *c, bool writable) {
    if (c->watching == writable) return;
    c->watching = writable;
    interest(c);
}

static void lost(Connection *c, const char *why);

// Gives a message that is about to be sent an id that no other has.
static void number_message(const Message *m, uint8_t *framed) {
    static uint32_t next = 10000000;
    char digits[ID_DIGITS + 1];
    snprintf(digits, sizeof digits, "%08u", next++ % 100000000);
    overwrite(framed, m->head, m->id, digits, ID_DIGITS, m->masked);
}

static void flush(Connection *c) {
    static uint8_t staging[STAGING];
    for (;;) {
        const uint8_t *from = staging;
        size_t length = 0;
        if (c->out.length) {
            from = c->out.data, length = c->out.length;
        } else {
            if (c->control.length) {
                memcpy(staging, c->control.data, c->control.length);
                length = c->control.length;
                c->control.length = 0;
            }
            while (c->head != c->tail) {
                Message *m = c->queue[c->head & (c->ring - 1)];
                if (length + m->length > STAGING) break;
                if (c->kind == GRPC) {
                    if (m->payload > c->connection_window || m->payload > c->stream_window) break;
                    c->connection_window -= m->payload, c->stream_window -= m->payload;
                }
                memcpy(staging + length, m->data, m->length);
                if (m->id) number_message(m, staging + length);
                length += m->length;
                c->head++;
            }
        }
        if (!length) break;
        ssize_t n = send(c->fd, from, length, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR) return lost(c, strerror(errno));
            n = 0;
        }
        bytes_out += (uint64_t)n;
        size_t rest = length - (size_t)n;
        if (from == staging) {
            if (rest) add(&c->out, staging + n, rest);
        } else {
            memmove(c->out.data, c->out.data + n, rest);
            c->out.length = rest;
        }
        if (rest) return watch(c, true);
    }
    watch(c, false);
}

static void enqueue(Connection *c, Message *m) {
    if (c->tail - c->head == c->ring) {
        uint32_t ring = c->ring ? c->ring * 2 : 16;
        Message **queue = need(malloc(ring * sizeof *queue));
        for (uint32_t i = c->head; i != c->tail; i++) queue[i & (ring - 1)] = c->queue[i & (c->ring - 1)];
        free(c->queue);
        c->queue = queue, c->ring = ring;
    }
    c->queue[c->tail++ & (c->ring - 1)] = m;
}

// Connections.

static void shut(Connection *c) {
    if (c->state != CLOSED) close(c->fd);
    c->state = CLOSED;
    c->in.length = c->out.length = c->control.length = c->grpc.length = 0;
    c->head = c->tail = 0;
    c->watching = c->heard = false;
}

static bool gone(const Connection *c) {
    return c->state == CLOSED || c->state == CONNECTING;  // shut, and perhaps begun anew
}

static void begin(Connection *c) {
    shut(c);
    c->fd = socket(c->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fail("socket: %s", strerror(errno));
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int little = 4096;  // so that the server, and not the kernel, is soon what holds it
    if (c->stalls) setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    if (connect(c->fd, (struct sockaddr *)&c->address, c->address_length) < 0 && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e) < 0) fail("epoll: %s", strerror(errno));
    c->watching = true;
    c->state = CONNECTING;
    c->connection_window = c->stream_window = c->initial_window = 65535;
    c->consumed = 0;
    c->next_stream = 3;
}

static void lost(Connection *c, const char *why) {
    if (c == attacker) {
        cut_off++;
        shut(c);
        begin(c);
        return;
    }
    if (c->stalls) return shut(c);
    fail("connection %td was lost: %s", c - connections, why);
}

static void greet(Connection *c) {
    c->state = GREETING;
    if (c->kind != PEERJS) add(&c->control, c->hello.data, c->hello.length);
    if (c->kind == GRPC) {
        c->connection_window -= (int64_t)c->hello.length - 9;
        c->stream_window -= (int64_t)c->hello.length - 9;
    }
    flush(c);
}

static void call_opened(Lane *lane);
static void call_greeted(Lane *lane);

static void next_of_setup(void) {
    unfinished--;
    if (setup_next < setup_end) begin(&connections[setup_next++]);
}

static void opened(Connection *c) {
    c->state = OPENED;
    if (c == attacker) return;
    if (!c->hold) greet(c);
    else if (mode == CALLS) call_opened(c->lane);
    else if (mode == SETUP) next_of_setup();
}

static void connected(Connection *c) {
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    int error = 0;
    if (getpeername(c->fd, (struct sockaddr *)&peer, &length) < 0 && errno == ENOTCONN) {
        length = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error) lost(c, strerror(error));
        return;  // an event of the connection's last life
    }
    add(&c->control, c->opening.data, c->opening.length);
    // Of a connection that waits for its hello, gRPC's settings are awaited as WebSocket's handshake is.
    if (c->kind == WS || c->kind == PEERJS || (c->kind == GRPC && c->hold)) c->state = OPENING;
    else opened(c);
    if (!gone(c)) flush(c);
}

// Keeps the resume token of the response to a hello, to show it the next time.
static void take_token(Connection *c, const uint8_t *m, size_t length) {
    static const char name[] = "\"resume_token\":\"";
    const uint8_t *token = memmem(m, length, name, sizeof name - 1), *end = m + length;
    if (!token || end - token < (ptrdiff_t)sizeof name - 1 + TOKEN_LETTERS + 1 || token[sizeof name - 1 + TOKEN_LETTERS] != '"')
        fail("connection %td was not made resumable", c - connections);
    if (c->resumes && !memmem(m, length, "\"resumed\":true", 14))
        fail("connection %td came back as somebody new", c - connections);
    c->resumes = true;
    overwrite(c->hello.data, c->hello_head, c->token, (const char *)token + sizeof name - 1, TOKEN_LETTERS, c->kind == WS);
}

static void greeted(Connection *c, const uint8_t *m, size_t length) {
    if (c->token) take_token(c, m, length);
    c->state = READY;
    if (c->stalls) interest(c);
    if (mode == SETUP || mode == STORM) {
        next_of_setup();
    } else if (mode == JOIN) {
        unfinished--;
    } else if (mode == CALLS) {
        call_greeted(c->lane);
    }
}

// Lanes.

static void take_off(struct Times *t, uint64_t at, uint32_t least) {
    if (t->tail - t->head == t->ring) {
        uint32_t ring = t->ring ? t->ring * 2 : 16;
        uint64_t *times = need(malloc(ring * sizeof *times));
        uint32_t *lengths = need(malloc(ring * sizeof *lengths));
        for (uint32_t i = t->head; i != t->tail; i++) {
            times[i & (ring - 1)] = t->at[i & (t->ring - 1)];
            lengths[i & (ring - 1)] = t->least[i & (t->ring - 1)];
        }
        free(t->at), free(t->least);
        t->at = times, t->least = lengths, t->ring = ring;
    }
    t->at[t->tail & (t->ring - 1)] = at;
    t->least[t->tail++ & (t->ring - 1)] = least;
}

// Queue the next step; its sender.
static Connection *step(Lane *lane, uint64_t at) {
    Message *m = &messages[lane->messages[lane->at]];
    int side = lane->sides[lane->at];
    if (++lane->at == lane->steps) lane->at = 0;
    Connection *c = lane->ends[side];
    enqueue(c, m);
    take_off(&lane->times[side], at, m->least);
    lane->outstanding += c->kind == PEERJS ? 1 : 2;
    in_flight++;
    return c;
}

static void phase(Lane *lane, uint32_t steps) {
    uint64_t at = now_ns();
    bool senders[2] = {false, false};
    for (uint32_t i = 0; i < steps; i++) senders[step(lane, at)->side] = true;
    for (int side = 0; side < 2; side++)
        if (senders[side]) flush(lane->ends[side]);
}

static void next_burst(Lane *lane) {
    if (!lane->left) {
        unfinished--;
        return;
    }
    uint32_t steps = lane->left < burst ? (uint32_t)lane->left : burst;
    lane->left -= steps;
    phase(lane, steps);
}

static void begin_call(Lane *lane) {
    lane->at = 0;
    for (int side = 0; side < 2; side++) begin(lane->ends[side]);
}

static void call_opened(Lane *lane) {
    if (lane->ends[0]->state != OPENED || lane->ends[1]->state != OPENED) return;
    lane->began = now_ns();
    for (int side = 0; side < 2; side++) greet(lane->ends[side]);
}

static void call_greeted(Lane *lane) {
    if (lane->ends[0]->state != READY || lane->ends[1]->state != READY) return;
    lane->refused_at = 0;
    lane->phase = 0;
    phase(lane, phases[lane->phase++]);
}

static void next_phase(Lane *lane) {
    if (lane->phase < phase_count) return phase(lane, phases[lane->phase++]);
    note_latency(now_ns() - lane->began);
    for (int side = 0; side < 2; side++) shut(lane->ends[side]);
    if (calls_left) calls_left--, begin_call(lane);
    else unfinished--;
}

// Whether a greeting of a call that was refused is said again: nothing tells when a server has noticed that those of the
// call before are gone, and until then the ids that these share with them are taken. A call counts from its last greeting.
static bool greets_again(Connection *c) {
    Lane *lane = c->lane;
    uint64_t at = now_ns();
    if (!lane->refused_at) lane->refused_at = at;
    if (at - lane->refused_at > REFUSED_NS) return false;
    lane->began = at;
    greet(c);
    return true;
}

static void settled(Lane *lane) {
    if (--lane->outstanding) return;
    if (mode == RUN) next_burst(lane);
    else if (mode == CALLS) next_phase(lane);
}

// Reading.

static Class classify(Kind kind, const uint8_t *m, size_t length) {
    if (kind == GRPC) {
        size_t at = 0;
        if (length > 1 && m[0] == 0x0a) at = 2u + m[1];  // request_id, shorter than 128 bytes
        if (at < length && m[at] == 0x10) {              // seq
            for (at++; at < length && m[at] & 0x80; at++) {}
            at++;
        }
        if (at >= length) return BAD;
        if (m[at] == 0x52) return ACK;
        if (m[at] == 0x6a) return REFUSAL;
        if (m[at] != 0x62) return BAD;
        at++;
        while (at < length && m[at] & 0x80) at++;
        if (++at >= length) return BAD;
        return m[at] == 0x1a || m[at] == 0x22 || m[at] == 0x2a ? EVENT : OTHER;
    }
    if (kind == TCP) return !length ? BAD : m[0] == 'A' ? ACK : m[0] == 'E' ? EVENT : OTHER;
    size_t look = length < 64 ? length : 64;
    if (kind == PEERJS) return memmem(m, look, "\"OPEN\"", 6) ? ACK : memmem(m, length, "\"OFFER\"", 7) ? EVENT : BAD;
    if (memmem(m, look, "\"result\"", 8)) return ACK;
    if (memmem(m, look, "\"error\"", 7)) return REFUSAL;
    const uint8_t *method = memmem(m, look, "\"method\"", 8);
    if (!method) return memmem(m, length, "\"result\"", 8) ? ACK : memmem(m, length, "\"error\"", 7) ? REFUSAL : BAD;
    for (method += 8; method < m + look && (*method == ':' || *method == ' '); method++) {}
    return method + 5 <= m + look && !memcmp(method, "\"peer", 5) ? OTHER : EVENT;
}

// The code of a refusal, 0 where it cannot be found.
static int code_of(Kind kind, const uint8_t *m, size_t length) {
    if (kind == GRPC) {
        size_t at = length > 1 && m[0] == 0x0a ? 2u + m[1] : 0;
        while (++at < length && m[at] & 0x80) {}
        return at + 2 < length && m[at + 1] == 0x08 ? m[at + 2] : 0;
    }
    // The last one is that of the data, which both protocols share.
    const uint8_t *code = NULL, *at = m, *end = m + length;
    while ((at = memmem(at, (size_t)(end - at), "\"code\":", 7))) code = at += 7;
    int found = 0;
    for (; code && code < end && *code >= '0' && *code <= '9'; code++) found = found * 10 + (*code - '0');
    return found;
}

static void arrived(Connection *c, const uint8_t *m, size_t length) {
    if (c == attacker) return;
    progress = latest;
    Class class = classify(c->kind, m, length);
    // The text of a response is never printed: it may hold what a peer sent.
    if (class == REFUSAL) {
        if (mode == CALLS && c->state == GREETING && greets_again(c)) return;
        fail("the server refused what connection %td asked for, with code %d; its limits may be too low", c - connections,
             code_of(c->kind, m, length));
    }
    if (class == BAD) {
        fail("connection %td got something that is neither reply nor event (%zu bytes)", c - connections, length);
    }
    if (class == OTHER) {
        if (mode == JOIN && !c->heard) c->heard = true, heard++;
        return;
    }
    if (c->state == GREETING) {
        if (class == ACK) greeted(c, m, length);
        return;
    }
    if (!c->lane && c->state == READY && attacker) return;  // of the attacker's
    if (!c->lane) fail("connection %td got a message that nobody sent", c - connections);
    if (class == EVENT) {
        struct Times *t = &c->lane->times[1 - c->side];
        if (t->head == t->tail) fail("connection %td got a message that nobody sent", c - connections);
        uint32_t at = t->head++ & (t->ring - 1);
        if (length < t->least[at]) fail("connection %td got a relayed message of %zu bytes only", c - connections, length);
        in_flight--;
        if (mode != CALLS) note_latency(latest - t->at[at]);
    }
    if (!c->lane->outstanding) fail("connection %td got an acknowledgement too many", c - connections);
    settled(c->lane);
}

static size_t take_http(Connection *c, const uint8_t *data, size_t length) {
    const uint8_t *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end) return 0;
    if (length < 12 || memcmp(data, "HTTP/1.1 101", 12)) fail("the WebSocket was refused: %.12s", data);
    opened(c);
    return (size_t)(end + 4 - data);
}

static size_t take_ws(Connection *c, const uint8_t *data, size_t length) {
    if (length < 2) return 0;
    size_t size = data[1] & 127, head = 2;
    if (data[1] & 128) fail("a server's frame is masked");
    if (size == 126) {
        if (length < 4) return 0;
        size = (size_t)data[2] << 8 | data[3], head = 4;
    } else if (size == 127) {
        if (length < 10) return 0;
        size = (size_t)get32(data + 6), head = 10;
    }
    if (length < head + size) return 0;
    uint8_t opcode = data[0] & 15;
    if (opcode == 8) {
        lost(c, "it was closed");
        return 0;
    }
    if (opcode == 9) {
        uint8_t pong[6] = {0x8a, (uint8_t)(0x80 | size), 0, 0, 0, 0};
        add(&c->control, pong, 6);
        add(&c->control, data + head, size);
        flush(c);
    } else if (opcode == 1 && data[0] & 0x80) {
        arrived(c, data + head, size);
    } else if (opcode != 10) {
        fail("a frame of opcode %d, or a fragment", opcode);
    }
    return head + size;
}

static size_t take_tcp(Connection *c, const uint8_t *data, size_t length) {
    if (length < 4 || length < 4 + (size_t)get32(data)) return 0;
    arrived(c, data + 4, get32(data));
    return 4 + (size_t)get32(data);
}

static void take_grpc_data(Connection *c, const uint8_t *data, size_t length) {
    if (c->grpc.length) {
        add(&c->grpc, data, length);
        data = c->grpc.data, length = c->grpc.length;
    }
    while (length >= 5 && length >= 5 + (size_t)get32(data + 1)) {
        size_t size = get32(data + 1);
        if (data[0]) fail("a compressed message");
        arrived(c, data + 5, size);
        if (gone(c)) return;
        data += 5 + size, length -= 5 + size;
    }
    if (c->grpc.length) {
        memmove(c->grpc.data, data, length);
        c->grpc.length = length;
    } else if (length) {
        add(&c->grpc, data, length);
    }
}

static size_t take_h2(Connection *c, const uint8_t *data, size_t length) {
    if (length < 9) return 0;
    size_t size = get32(data) >> 8;
    if (length < 9 + size) return 0;
    uint8_t type = data[3], flags = data[4];
    uint32_t stream = get32(data + 5) & 0x7fffffff;
    const uint8_t *payload = data + 9;
    switch (type) {
    case 0:  // DATA
        take_grpc_data(c, payload, size);
        if (gone(c)) return 0;
        c->consumed += (uint32_t)size;
        if (c->consumed > WINDOW / 2) {
            window_update(&c->control, 0, c->consumed);
            window_update(&c->control, 1, c->consumed);
            c->consumed = 0;
            flush(c);
        }
        break;
    case 1:  // HEADERS
        if (flags & 1 && stream == 1 && c != attacker) fail("connection %td: the server ended the call", c - connections);
        break;
    case 3:  // RST_STREAM
        if (c != attacker) fail("connection %td: the server reset the call with %u", c - connections, get32(payload));
        break;
    case 4:  // SETTINGS
        if (flags & 1) break;
        for (size_t at = 0; at + 6 <= size; at += 6) {
            if ((payload[at] << 8 | payload[at + 1]) != 4) continue;
            int64_t window = get32(payload + at + 2);
            c->stream_window += window - c->initial_window;
            c->initial_window = window;
        }
        add(&c->control, "\0\0\0\4\1\0\0\0\0", 9);
        flush(c);
        if (!gone(c) && c->state == OPENING) opened(c);
        break;
    case 6:  // PING
        if (flags & 1) break;
        add(&c->control, "\0\0\x08\6\1\0\0\0\0", 9);
        add(&c->control, payload, 8);
        flush(c);
        break;
    case 7:  // GOAWAY
        if (c != attacker) fail("connection %td: the server went away", c - connections);
        break;
    case 8:  // WINDOW_UPDATE
        *(stream ? &c->stream_window : &c->connection_window) += get32(payload);
        if (c->head != c->tail) flush(c);
        break;
    default:
        break;
    }
    return 9 + size;
}

static void readable(Connection *c) {
    static uint8_t shared[STAGING * 2];
    uint8_t *data = shared;
    size_t length = c->in.length;
    if (length > STAGING) fail("a frame is too long");
    if (length) memcpy(shared, c->in.data, length);
    ssize_t n = recv(c->fd, shared + length, STAGING, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return lost(c, n ? strerror(errno) : "the server closed it");
    latest = now_ns();
    bytes_in += (uint64_t)n;
    if (c == attacker && c->kind == WS && c->state == OPENED) return;  // whatever it is told, however long that is
    length += (size_t)n;
    for (size_t taken = 1; length && taken;) {
        if (c->kind == TCP) taken = take_tcp(c, data, length);
        else if (c->kind == GRPC) taken = take_h2(c, data, length);
        else if (c->state == OPENING) taken = take_http(c, data, length);
        else taken = take_ws(c, data, length);
        if (gone(c)) return;
        data += taken, length -= taken;
    }
    c->in.length = 0;
    if (length) add(&c->in, data, length);
    else free(c->in.data), c->in = (Bytes){0};
}

// What is ready within so many milliseconds. On a core of its own the load never sleeps: waking it is work that a server
// would be charged for, though clients elsewhere cost it none. The time that it so wastes does not count as its own.
static int ready(struct epoll_event *events, int most, int milliseconds) {
    if (!polling) return epoll_wait(epoll_fd, events, most, milliseconds);
    uint64_t began = now_ns(), now = began, end = began + (uint64_t)milliseconds * 1000000;
    int n;
    while (!(n = epoll_wait(epoll_fd, events, most, 0)) && (now = now_ns()) < end) {}
    idle_ns += now - began;
    return n;
}

// One turn: wait at most so many milliseconds, then do what is to be done.
static void turn(int milliseconds) {
    struct epoll_event events[256];
    int n = ready(events, 256, milliseconds);
    if (n < 0 && errno != EINTR) fail("epoll: %s", strerror(errno));
    for (int i = 0; i < n; i++) {
        Connection *c = events[i].data.ptr;
        if (c->state == CLOSED) continue;
        if (c->state == CONNECTING) connected(c);
        else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
        else flush(c);
    }
}

static void finish(void) {
    progress = now_ns();
    while (unfinished) {
        turn(1000);
        if (now_ns() > progress + STALL_NS) fail("nothing came for %llu s; %u are unfinished", STALL_NS / 1000000000, unfinished);
    }
    mode = IDLE;
}

// Commands.

static uint32_t number(void) {
    char *word = strtok(NULL, " \n");
    if (!word) fail("a command lacks a number");
    return (uint32_t)strtoul(word, NULL, 10);
}

static char *word(void) {
    char *word = strtok(NULL, " \n");
    if (!word) fail("a command lacks a word");
    return word;
}

static Kind kind_of(const char *name) {
    static const char *names[] = {"tcp", "ws", "peerjs", "grpc"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, names[i])) return (Kind)i;
    fail("no such kind");
}

static uint8_t *blob(size_t length) {
    uint8_t *data = need(malloc(length + 1));
    if (fread(data, 1, length, stdin) != length) fail("the input ended");
    data[length] = 0;
    return data;
}

static Lane *lane_of(uint32_t at) {
    if (at >= lane_count) fail("no such lane");
    return lanes[at];
}

// Connections may be the ends of several lanes, of one at a time.
static void take_up(uint32_t first, uint32_t count) {
    for (uint32_t i = first; i < first + count; i++)
        for (int side = 0; side < 2; side++) {
            Connection *c = lane_of(i)->ends[side];
            c->lane = lane_of(i), c->side = side;
        }
}

static Connection *connection_of(uint32_t at) {
    if (at >= connection_count) fail("no such connection");
    return &connections[at];
}

static void command_open(void) {
    if (connection_count == CONNECTIONS) fail("more than %d connections", CONNECTIONS);
    Connection *c = &connections[connection_count++];
    c->kind = kind_of(word());
    char *address = word();
    int port = (int)number();
    struct sockaddr_in *four = (struct sockaddr_in *)&c->address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&c->address;
    if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
        four->sin_family = AF_INET, four->sin_port = htons((uint16_t)port), c->address_length = sizeof *four;
    } else if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6, six->sin6_port = htons((uint16_t)port), c->address_length = sizeof *six;
    } else {
        fail("not an address: %s", address);
    }
    size_t path_length = number(), extra_length = number(), hello_length = number(), token = number();
    uint8_t *path = blob(path_length), *extra = blob(extra_length), *hello = blob(hello_length);
    write_opening(c, (char *)path, (char *)extra, extra_length, port);
    if (hello_length) frame(c->kind, hello, hello_length, &c->hello);
    if (token + TOKEN_LETTERS > hello_length && token) fail("a token does not fit there");
    c->hello_head = c->hello.length - hello_length;
    c->token = token ? c->hello_head + token : 0;
    free(path), free(extra), free(hello);
}

static void command_message(void) {
    messages = need(realloc(messages, (message_count + 1) * sizeof *messages));
    Kind kind = kind_of(word());
    size_t length = number();
    uint32_t least = number(), id = number();
    if (id && id + ID_DIGITS > length) fail("an id does not fit there");
    uint8_t *payload = blob(length);
    Bytes framed = {0};
    frame(kind, payload, length, &framed);
    free(payload);
    uint32_t head = (uint32_t)(framed.length - length);
    messages[message_count++] = (Message){.data = framed.data, .length = (uint32_t)framed.length,
        .payload = (uint32_t)framed.length - 9, .least = least, .head = head, .id = id ? head + id : 0,
        .masked = kind == WS || kind == PEERJS};
}

static void command_lane(void) {
    Lane *lane = need(calloc(1, sizeof *lane));
    for (int side = 0; side < 2; side++) lane->ends[side] = connection_of(number());
    lane->steps = number();
    lane->sides = need(calloc(lane->steps, 1));
    lane->messages = need(calloc(lane->steps, sizeof *lane->messages));
    for (uint32_t i = 0; i < lane->steps; i++) {
        unsigned side;
        if (sscanf(word(), "%u:%u", &side, &lane->messages[i]) != 2 || side > 1 || lane->messages[i] >= message_count)
            fail("not a step");
        lane->sides[i] = (uint8_t)side;
    }
    lanes = need(realloc(lanes, (lane_count + 1) * sizeof *lanes));
    lanes[lane_count++] = lane;
}

static uint64_t began_at, began_in, began_out;
static double began_cpu;
static uint64_t began_idle;

static void start_clock(void) {
    latency_count = 0;
    in_flight = 0;
    began_in = bytes_in, began_out = bytes_out;
    began_cpu = cpu_seconds();
    began_idle = idle_ns;
    began_at = now_ns();
}

static void respond(const char *format, ...) {
    double seconds = (double)(now_ns() - began_at) / 1e9, cpu = cpu_seconds() - began_cpu;
    cpu -= (double)(idle_ns - began_idle) / 1e9;
    if (cpu < 0) cpu = 0;
    printf("{\"seconds\": %.9f, \"load_cpu\": %.6f, \"bytes_to_server\": %" PRIu64 ", \"bytes_from_server\": %" PRIu64,
        seconds, cpu, bytes_out - began_out, bytes_in - began_in);
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    puts("}");
    fflush(stdout);
}

static void answer_latencies(const char *format, uint64_t undelivered, double behind) {
    qsort(latencies, latency_count, sizeof *latencies, by_size);
    respond(format, latency_count, percentile(0.5), percentile(0.9), percentile(0.99), percentile(0.999), undelivered,
        behind, cut_off);
}

#define LATENCIES \
    ", \"messages\": %zu, \"p50\": %.9f, \"p90\": %.9f, \"p99\": %.9f, \"p999\": %.9f, \"undelivered\": %" PRIu64 \
    ", \"load_behind\": %.9f, \"cut_off\": %" PRIu64

static void command_setup(void) {
    uint32_t first = number(), count = number(), at_once = number();
    mode = SETUP;
    unfinished = count;
    if (first + count > connection_count) fail("no such connections");
    setup_next = first, setup_end = first + count;
    bool together = !at_once;
    for (uint32_t i = first; i < setup_end; i++) connections[i].hold = together;
    start_clock();
    while (setup_next < setup_end && setup_next - first < (together ? 16 : at_once)) begin(&connections[setup_next++]);
    finish();
    if (together) {
        mode = SETUP;
        unfinished = count;
        for (uint32_t i = first; i < setup_end; i++) {
            connections[i].hold = false;
            greet(&connections[i]);
        }
        finish();
    }
    respond("%s", "");
}

static void command_run(void) {
    uint32_t first = number(), count = number();
    burst = number();
    uint64_t steps = number();
    take_up(first, count);
    mode = RUN;
    unfinished = count;
    start_clock();
    for (uint32_t i = first; i < first + count; i++) {
        lane_of(i)->left = steps;
        next_burst(lane_of(i));
    }
    finish();
    double behind = 0;
    cut_off = 0;
    answer_latencies(LATENCIES, 0, behind);
}

// What the attacker does in one hundredth of a second.
static void attack(const char *how) {
    if (attacker->state != OPENED || attacker->out.length || attacker->control.length || attacker->head != attacker->tail)
        return;
    unsigned message, times;
    if (sscanf(how, "%u:%u", &message, &times) == 2) {
        if (message >= message_count) fail("no such message");
        while (times--) enqueue(attacker, &messages[message]);
        flush(attacker);
        return;
    }
    bool resets = !strcmp(how, "resets");
    for (int i = 0; i < (resets ? 15 : 1000); i++) {
        if (resets) {
            put32(attacker->call.data + 5, attacker->next_stream);
            add(&attacker->control, attacker->call.data, attacker->call.length);
            uint8_t reset[13] = {0, 0, 4, 3, 0};
            put32(reset + 5, attacker->next_stream);
            put32(reset + 9, 8);  // CANCEL
            add(&attacker->control, reset, 13);
            attacker->next_stream += 2;
        } else {
            add(&attacker->control, "\0\0\x08\6\0\0\0\0\0pingpong", 17);
        }
    }
    flush(attacker);
}

static void command_pace(void) {
    uint32_t first = number(), count = number();
    double rate = strtod(word(), NULL), seconds = strtod(word(), NULL);
    const char *how = word();
    uint32_t attacker_at = number();
    attacker = strcmp(how, "none") ? connection_of(attacker_at) : NULL;
    take_up(first, count);
    mode = PACE;
    cut_off = 0;
    if (attacker) begin(attacker);
    start_clock();
    uint64_t planned = (uint64_t)(rate * seconds), sent = 0, behind = 0, next_attack = began_at;
    uint64_t end = began_at + (uint64_t)(seconds * 1e9) + DRAIN_NS;
    while ((sent < planned || in_flight) && now_ns() < end) {
        uint64_t now = now_ns(), due = began_at + (uint64_t)((double)sent / rate * 1e9);
        if (sent < planned && due <= now) {
            if (now - due > behind) behind = now - due;
            flush(step(lane_of(first + (uint32_t)(sent % count)), due));
            sent++;
            if (sent % 32) continue;  // read now and then even where much is due
        }
        if (attacker && now >= next_attack) {
            attack(how);
            next_attack += 10000000;
        }
        turn(sent < planned ? 0 : 1);
    }
    uint64_t undelivered = in_flight, now = now_ns();
    for (uint32_t i = first; i < first + count; i++)
        for (int side = 0; side < 2; side++) {
            struct Times *t = &lane_of(i)->times[side];
            for (uint32_t at = t->head; at != t->tail; at++) note_latency(now - t->at[at & (t->ring - 1)]);
        }
    mode = IDLE;
    answer_latencies(LATENCIES, undelivered, (double)behind / 1e9);
    // What is still under way must not be taken for what is sent next.
    for (uint64_t give_up = now_ns() + STALL_NS; ; turn(10)) {
        uint64_t outstanding = 0;
        for (uint32_t i = first; i < first + count; i++) outstanding += lane_of(i)->outstanding;
        if (!outstanding) break;
        if (now_ns() > give_up) fail("%" PRIu64 " responses never came", outstanding);
    }
    if (attacker) shut(attacker);
    attacker = NULL;
}

static void command_storm(void) {
    uint32_t first = number(), count = number(), lane = number(), width = number();
    double rate = strtod(word(), NULL);
    if (first + count > connection_count) fail("no such connections");
    take_up(lane, width);
    mode = STORM;
    setup_next = setup_end = first + count;  // all are begun below
    unfinished = count;
    start_clock();
    uint64_t sent = 0, behind = 0, end = began_at + STORM_NS, last = 0;
    for (uint32_t begun = 0; unfinished || in_flight;) {
        uint64_t now = now_ns(), due = began_at + (uint64_t)((double)sent / rate * 1e9);
        if (now > end) fail("%u of %u were not let in", unfinished, count);
        if (!unfinished && !last) last = now;
        if (unfinished && due <= now) {
            if (now - due > behind) behind = now - due;
            flush(step(lane_of(lane + (uint32_t)(sent % width)), due));
            sent++;
            if (sent % 32) continue;
        }
        // A few at a time, so that the lanes are not late.
        for (uint32_t some = 0; some < 8 && begun < count; some++) begin(&connections[first + begun++]);
        turn(begun < count ? 0 : 1);
    }
    uint64_t seconds = (last ? last : now_ns()) - began_at;
    mode = IDLE;
    qsort(latencies, latency_count, sizeof *latencies, by_size);
    respond(", \"messages\": %zu, \"p50\": %.9f, \"p99\": %.9f, \"load_behind\": %.9f, \"last_in\": %.9f", latency_count,
        percentile(0.5), percentile(0.99), (double)behind / 1e9, (double)seconds / 1e9);
    // What is still under way must not be taken for what is sent next.
    for (uint64_t give_up = now_ns() + STALL_NS; ; turn(10)) {
        uint64_t outstanding = 0;
        for (uint32_t i = lane; i < lane + width; i++) outstanding += lane_of(i)->outstanding;
        if (!outstanding) break;
        if (now_ns() > give_up) fail("%" PRIu64 " responses never came", outstanding);
    }
}

// Reads until nothing comes any more: what was caused before must not be taken for what is measured next.
static void read_all(void) {
    uint64_t give_up = now_ns() + STALL_NS;
    for (uint64_t quiet = now_ns(); now_ns() < quiet + QUIET_NS;) {
        uint64_t before = bytes_in;
        turn(10);
        if (bytes_in != before) quiet = now_ns();
        if (quiet > give_up) fail("something comes all the time");
    }
}

static void command_quiet(void) {
    start_clock();
    read_all();
    respond("%s", "");
}

static void command_join(void) {
    Connection *c = connection_of(number());
    uint32_t first = number(), count = number();
    for (uint32_t i = first; i < first + count; i++) connection_of(i)->heard = false;
    c->hold = true;
    begin(c);
    uint64_t give_up = now_ns() + STALL_NS;
    while (c->state != OPENED) {
        turn(100);
        if (now_ns() > give_up) fail("the one that joins cannot connect");
    }
    c->heard = true;  // it is not one of the others
    read_all();
    mode = JOIN;
    unfinished = 1;
    heard = 0;
    start_clock();
    greet(c);
    while (unfinished || heard < count) {
        turn(1000);
        if (now_ns() > give_up) fail("of %u only %" PRIu64 " heard of the one that joined", count, heard);
    }
    mode = IDLE;
    c->hold = false;
    respond("%s", "");
}

static void command_calls(void) {
    uint32_t first = number(), count = number();
    calls_left = number();
    phase_count = number();
    phases = need(realloc(phases, phase_count * sizeof *phases));
    for (uint32_t i = 0; i < phase_count; i++) phases[i] = number();
    mode = CALLS;
    if (count > calls_left) count = calls_left;
    take_up(first, count);
    calls_left -= count;
    unfinished = count;
    cut_off = 0;
    start_clock();
    for (uint32_t i = first; i < first + count; i++) {
        for (int side = 0; side < 2; side++) lane_of(i)->ends[side]->hold = true;
        begin_call(lane_of(i));
    }
    finish();
    for (uint32_t i = first; i < first + count; i++)
        for (int side = 0; side < 2; side++) lane_of(i)->ends[side]->hold = false;
    answer_latencies(LATENCIES, 0, 0);
}

static void command_stall(void) {
    uint32_t first = number(), count = number();
    for (uint32_t i = first; i < first + count; i++) connection_of(i)->stalls = true;
}

static void command_close(void) {
    uint32_t first = number(), count = number();
    for (uint32_t i = first; i < first + count; i++) shut(connection_of(i));
    start_clock();
    respond("%s", "");
}

// The bare echo: a server for the kind tcp that does nothing but pass on.

static void echo(void) {
    enum { PEERS = 4096 };
    static struct { Bytes in, out; char id[32]; } peers[PEERS];
    static uint8_t buffer[STAGING];
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 1024) < 0) fail("%s", strerror(errno));
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, events[256];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                if (fd < 0) continue;
                if (fd >= PEERS) fail("too many connections");
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                e.data.fd = fd;
                epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
                continue;
            }
            ssize_t got = recv(fd, buffer, sizeof buffer, 0);
            if (got <= 0) {
                close(fd);
                peers[fd].in.length = 0, peers[fd].id[0] = 0;
                continue;
            }
            add(&peers[fd].in, buffer, (size_t)got);
            uint8_t *data = peers[fd].in.data, *end = data + peers[fd].in.length;
            int target = -1;
            while (end - data >= 4 && end - data >= 4 + (ptrdiff_t)get32(data)) {
                size_t size = get32(data);
                uint8_t *line = memchr(data + 5, '\n', size - 1);
                if (!line || line - data - 5 > 31) fail("not a message");
                *line = 0;
                if (data[4] == 'H') {
                    strcpy(peers[fd].id, (char *)data + 5);
                } else {
                    for (target = 0; target < PEERS && strcmp(peers[target].id, (char *)data + 5); target++) {}
                    if (target == PEERS) fail("no such peer");
                    size_t body = (size_t)(data + 4 + size - line - 1);
                    uint8_t head[5];
                    put32(head, (uint32_t)body + 1);
                    head[4] = 'E';
                    add(&peers[target].out, head, 5);
                    add(&peers[target].out, line + 1, body);
                }
                add(&peers[fd].out, "\0\0\0\1A", 5);
                data += 4 + size;
            }
            peers[fd].in.length = (size_t)(end - data);
            memmove(peers[fd].in.data, data, (size_t)(end - data));
            for (int to = target; to >= 0; to = to == fd ? -1 : fd) {
                if (peers[to].out.length && send(to, peers[to].out.data, peers[to].out.length, MSG_NOSIGNAL) < 0)
                    fail("send: %s", strerror(errno));
                peers[to].out.length = 0;
            }
            if (target < 0 && peers[fd].out.length) {
                if (send(fd, peers[fd].out.data, peers[fd].out.length, MSG_NOSIGNAL) < 0) fail("send: %s", strerror(errno));
                peers[fd].out.length = 0;
            }
        }
    }
}

static void become(char **arguments) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    // The parent may have gone before it could be asked for.
    if (getppid() != atoi(arguments[0])) exit(1);
    execvp(arguments[1], arguments + 1);
    fprintf(stderr, "%s: %s\n", arguments[1], strerror(errno));
    exit(127);
}

int main(int count, char **arguments) {
    if (count > 3 && !strcmp(arguments[1], "--while")) become(arguments + 2);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (count > 1 && !strcmp(arguments[1], "--echo")) echo();
    polling = count > 1 && !strcmp(arguments[1], "--polling");
    static const struct { const char *name; void (*run)(void); } commands[] = {
        {"open", command_open}, {"message", command_message}, {"lane", command_lane}, {"setup", command_setup},
        {"run", command_run}, {"pace", command_pace}, {"storm", command_storm}, {"join", command_join},
        {"calls", command_calls}, {"stall", command_stall}, {"close", command_close},
        {"quiet", command_quiet},
    };
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        char *name = strtok(line, " \n");
        size_t i = 0, known = sizeof commands / sizeof *commands;
        while (i < known && (!name || strcmp(name, commands[i].name))) i++;
        if (i == known) fail("no such command");
        commands[i].run();
    }
    return 0;
}
