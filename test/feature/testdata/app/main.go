// Command app is the application of the scaling tests. It serves HTTP/1.1 and h2c on $PORT and checks for itself what Sluice
// promises of it: it never has more than $LIMIT requests at a time, or it answers 500 and says so ever after.
//
//	/            answers after the query's ms milliseconds (default $MS, else 0), and not before the files of $UNTIL and of the
//	             query's until are there, with the revision's name, and in the headers App-Process, App-Began and App-Ended its process id and from
//	             when to when it worked, in Unix nanoseconds; App-Host is the host that it was asked for, App-Internal the
//	             headers that it got whose names begin as those of the platform
//	/started     the moments, in Unix nanoseconds, in which the process began main, listened, and got its first request
//	/most        the most requests that it had at a time; not counted itself
//	/echo        a WebSocket that echoes
//	/exit        ends the process with code 3, without an answer
//
// and gRPC's health service, whose Watch is a stream without an end. $LISTEN_AFTER delays the listening by that many milliseconds,
// $LISTEN_WHEN until there is such a file. $DEAF has it accept connections and never answer, $EXIT has it end at once with that code.
// $LAME_DUCK is for how many milliseconds after SIGTERM it ends connections with their next response, and takes none, before it
// ends: clients that keep connections shorter than that notice nothing. In the folder $JOURNAL the process writes to a file of its
// pid which requests with a query's id it has begun ("+id") and ended ("-id").
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
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
	if code := number("EXIT", -1); code >= 0 {
		fmt.Println("ending at once, as told")
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

// note writes a line at once: it is there also when the process is killed right after it.
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

// counted refuses, and says, what is beyond the limit.
func (a *app) counted(handle http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.first.CompareAndSwap(0, time.Now().UnixNano())
		now := a.running.Add(1)
		defer a.running.Add(-1)
		for most := a.most.Load(); now > most && !a.most.CompareAndSwap(most, now); most = a.most.Load() {
		}
		if a.limit > 0 && now > a.limit {
			http.Error(w, fmt.Sprintf("OVER THE LIMIT: %d requests at a time, %d are allowed", now, a.limit), http.StatusInternalServerError)
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
		case <-r.Context().Done(): // nobody waits for the answer
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
