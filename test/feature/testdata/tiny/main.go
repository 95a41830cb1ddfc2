// Command tiny answers every request with 200 and the time at which it began to listen, in Unix nanoseconds. It starts as fast as a
// program can and takes little memory, so that benchmarks measure Sluice.
package main

import (
	"bufio"
	"net"
	"os"
	"strconv"
	"time"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		panic(err)
	}
	body := strconv.FormatInt(time.Now().UnixNano(), 10)
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	for {
		conn, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go serve(conn, answer)
	}
}

func serve(conn net.Conn, answer []byte) {
	defer conn.Close()
	for r := bufio.NewReaderSize(conn, 1024); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if line == "\r\n" { // the end of the headers; there is no body
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}
}
