// Command app is the application of the scaling tests. It serves HTTP/1.1 and h2c on $PORT and checks one of Sluice's promises: if it
// ever has more than $LIMIT requests at a time, it answers 500, and /most shows it.
//
//	/            answers with the revision's name after the query's ms milliseconds (default $MS, else 0), and not before the files
//	             of $UNTIL and of the query's until exist. Headers: App-Process is the process id, App-Began and App-Ended when it
//	             began and ended the work, in Unix nanoseconds, App-Host the request's host, App-Internal the headers of the request
//	             whose names are like those of the platform, and App- before the name each header of a trace, as it came
//	/started     when the process began main, when it listened, and when it got its first request, in Unix nanoseconds
//	/most        the most requests that it had at a time, this one not counted
//	/echo        a WebSocket that echoes
//	/exit        ends the process with code 3, without an answer
//
// and gRPC's health service, whose Watch is a stream without an end. $LISTEN_AFTER delays the listening by that many milliseconds,
// $LISTEN_WHEN until that file exists. With $DEAF it accepts connections and never answers, with $EXIT it ends at once with that code.
// For $LAME_DUCK milliseconds after SIGTERM it accepts no connection and closes each with its next response, and then it ends: clients
// that keep connections for a shorter time notice nothing. With $DAEMON it starts a daemon that ends only by SIGKILL: a process without an
// environment, in a session of its own, whose parent has ended. The daemon adds its pid to that file. In the folder $JOURNAL the process
// writes to a file named after its pid which requests with a query's id it has begun ("+id") and ended ("-id").
package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	began := time.Now()
	if len(os.Args) > 1 {
		daemon(os.Args[1], os.Args[2])
		return
	}
	if file := os.Getenv("DAEMON"); file != "" {
		awaitMarker()
		if err := exec.Command(os.Args[0], "fork", file).Run(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	if code := number("EXIT", -1); code >= 0 {
		fmt.Println("ending at once, as configured")
		os.Exit(code)
	}
	time.Sleep(time.Duration(number("LISTEN_AFTER", 0)) * time.Millisecond)
	for file := os.Getenv("LISTEN_WHEN"); file != "" && !there(file); {
		time.Sleep(10 * time.Millisecond)
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	a := &app{began: began, listening: time.Now(), limit: int64(number("LIMIT", 0)), ms: number("MS", 0)}
	a.openJournal(os.Getenv("JOURNAL"))
	if os.Getenv("DEAF") != "" {
		deaf(l)
	}
	a.serve(l)
}

// awaitMarker waits until Sluice has marked the process, with RLIMIT_LOCKS: what it starts before that is known by its environment only.
func awaitMarker() {
	const locks = 10
	for l := (syscall.Rlimit{}); syscall.Getrlimit(locks, &l) == nil && l.Max == math.MaxUint64; {
		time.Sleep(time.Millisecond)
	}
}

// daemon is the process that $DAEMON starts, and before that ("fork") the one between.
func daemon(stage, file string) {
	if stage == "fork" {
		cmd := exec.Command(os.Args[0], "run", file)
		cmd.Env, cmd.SysProcAttr = []string{}, &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			os.Exit(1)
		}
		return
	}
	signal.Ignore(syscall.SIGTERM)
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		os.Exit(1)
	}
	fmt.Fprintln(f, os.Getpid())
	time.Sleep(time.Hour)
}

func deaf(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() { _, _ = io.Copy(io.Discard, conn) }()
	}
}

type app struct {
	began, listening time.Time
	first            atomic.Int64
	limit            int64
	ms               int
	running, most    atomic.Int64
	ending           atomic.Bool
	journal          *os.File // nil for none
}

func (a *app) openJournal(folder string) {
	if folder == "" {
		return
	}
	f, err := os.Create(filepath.Join(folder, strconv.Itoa(os.Getpid())))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	a.journal = f
}

// note writes a line unbuffered, so that it is in the file even if the process is killed right after.
func (a *app) note(mark, id string) {
	if a.journal != nil && id != "" {
		_, _ = a.journal.WriteString(mark + id + "\n") // a line that is missing fails the test
	}
}

func (a *app) serve(l net.Listener) {
	rpc := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(rpc, health.NewServer())
	mux := http.NewServeMux()
	mux.HandleFunc("/started", func(w http.ResponseWriter, _ *http.Request) {
		a.first.CompareAndSwap(0, time.Now().UnixNano())
		fmt.Fprintln(w, a.began.UnixNano(), a.listening.UnixNano(), a.first.Load())
	})
	mux.HandleFunc("/most", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, a.most.Load()) })
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	mux.Handle("/echo", a.counted(echo))
	mux.Handle("/", a.counted(a.work))
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			rpc.ServeHTTP(w, r)
			return
		}
		if a.ending.Load() {
			w.Header().Set("Connection", "close")
		}
		mux.ServeHTTP(w, r)
	})}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		if ms := number("LAME_DUCK", 0); ms > 0 {
			a.ending.Store(true)
			_ = l.Close()
			time.Sleep(time.Duration(ms) * time.Millisecond)
		}
		_ = server.Shutdown(context.Background())
	}()
	if err := server.Serve(l); err != http.ErrServerClosed && !a.ending.Load() {
		fmt.Println(err)
		os.Exit(1)
	}
	<-done
}

// counted counts requests, and refuses those beyond the limit.
func (a *app) counted(handle http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.first.CompareAndSwap(0, time.Now().UnixNano())
		now := a.running.Add(1)
		defer a.running.Add(-1)
		for most := a.most.Load(); now > most && !a.most.CompareAndSwap(most, now); most = a.most.Load() {
		}
		if a.limit > 0 && now > a.limit {
			http.Error(w, fmt.Sprintf("OVER THE LIMIT: %d requests at a time, %d are allowed", now, a.limit),
				http.StatusInternalServerError)
			return
		}
		handle(w, r)
	})
}

func (a *app) work(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	id := r.URL.Query().Get("id")
	a.note("+", id)
	ms := a.ms
	if text := r.URL.Query().Get("ms"); text != "" {
		ms, _ = strconv.Atoi(text)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	for _, file := range []string{os.Getenv("UNTIL"), r.URL.Query().Get("until")} {
		for file != "" && !there(file) && r.Context().Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
	if ms > 0 {
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
		case <-r.Context().Done(): // the client has gone
		}
	}
	w.Header().Set("App-Process", strconv.Itoa(os.Getpid()))
	w.Header().Set("App-Began", strconv.FormatInt(began.UnixNano(), 10))
	w.Header().Set("App-Ended", strconv.FormatInt(time.Now().UnixNano(), 10))
	w.Header().Set("App-Host", r.Host)
	for name := range r.Header {
		if strings.HasPrefix(name, "K-") {
			w.Header().Add("App-Internal", name)
		}
	}
	for _, name := range []string{"Traceparent", "Tracestate", "Baggage"} {
		w.Header()["App-"+name] = r.Header[name]
	}
	a.note("-", id)
	fmt.Fprintln(w, os.Getenv("K_REVISION"))
}

func there(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func echo(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := c.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}
