package jetstream

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"sluice.dev/sluice/event/store"
)

// DefaultBucket is the bucket of Options without one.
const DefaultBucket = "sluice-tasks"

// Options say where the tasks are.
type Options struct {
	// URL is the address of the server, such as tls://nats.example.com:4222; several are separated by commas. One that is not of this
	// machine must use TLS, unless Plaintext permits to do without.
	URL       string
	Plaintext bool
	// Bucket is the key-value bucket; Open makes it if there is none. Replicas is how many servers then have it, 1 without.
	Bucket   string
	Replicas int
	// Credentials is a file with the JWT and the seed of a user. Authorities, Certificate and Key are PEM files: who signs the certificate
	// of the server, and what this process proves itself with. Each may be empty.
	Credentials, Authorities, Certificate, Key string
	// Limits bound the tasks of all processes that share the bucket.
	Limits store.Limits
	// Timeout bounds one question to the server, 5 s without.
	Timeout time.Duration
}

const (
	defaultTimeout = 5 * time.Second
	maxReplicas    = 5
)

var bucketName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (o *Options) check() error {
	if o.Bucket == "" {
		o.Bucket = DefaultBucket
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	switch {
	case !bucketName.MatchString(o.Bucket):
		return fmt.Errorf("the bucket %.80q: want at most 64 letters, digits, _ and -", o.Bucket)
	case o.Replicas < 1 || o.Replicas > maxReplicas:
		return fmt.Errorf("%d replicas of the bucket: want 1 to %d", o.Replicas, maxReplicas)
	case (o.Certificate == "") != (o.Key == ""):
		return errors.New("a certificate for JetStream needs its key, and a key its certificate")
	}
	if err := o.Limits.Check(); err != nil {
		return err
	}
	for address := range strings.SplitSeq(o.URL, ",") {
		if err := o.checkAddress(strings.TrimSpace(address)); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) checkAddress(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return errors.New("the URL of JetStream cannot be read") // the error would have the password in it
	case u.Scheme != "nats" && u.Scheme != "tls" || u.Host == "":
		return fmt.Errorf("the URL of JetStream %.128q: want nats://host:port or tls://host:port", u.Redacted())
	case u.Scheme == "nats" && !o.Plaintext && o.Authorities == "" && !loopback(u.Hostname()):
		return fmt.Errorf("the URL of JetStream %.128q is not of this machine and has no TLS: use tls://, or permit plaintext",
			u.Redacted())
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// connect connects to the server, and again whenever the connection ends.
func (o *Options) connect() (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name("sluice tasks"), nats.Timeout(o.Timeout), nats.MaxReconnects(-1), nats.ReconnectWait(200 * time.Millisecond),
		nats.PingInterval(20 * time.Second),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // who waits for an answer gets the error
	}
	for _, f := range []struct {
		file string
		make func() nats.Option
	}{
		{o.Credentials, func() nats.Option { return nats.UserCredentials(o.Credentials) }},
		{o.Authorities, func() nats.Option { return nats.RootCAs(o.Authorities) }},
		{o.Certificate, func() nats.Option { return nats.ClientCert(o.Certificate, o.Key) }},
	} {
		if f.file == "" {
			continue
		}
		if _, err := os.Stat(f.file); err != nil {
			return nil, fmt.Errorf("reading a file for the connection to JetStream: %w", err)
		}
		options = append(options, f.make())
	}
	c, err := nats.Connect(o.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("connecting to JetStream: %w", err)
	}
	return c, nil
}
