package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	etcd "go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

// maxSocketPath is how long the path of a unix socket may be (sizeof sun_path, less its zero byte).
const maxSocketPath = 107

// store is a one-member etcd that listens on one unix socket and on nothing else.
type store struct {
	etcd *etcd.Etcd
	// url is its client address, unix:///path.
	url string
	// temporary is a directory to remove at the end; empty when the socket is in the data directory.
	temporary string
}

// startStore starts etcd on dir/etcd and waits until it serves.
func startStore(ctx context.Context, dir string) (*store, error) {
	socket, temporary, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	client := url.URL{Scheme: "unix", Path: socket}
	s := &store{url: client.String(), temporary: temporary}
	s.etcd, err = etcd.StartEtcd(storeConfig(dir, client))
	if err != nil {
		s.removeTemporary()
		return nil, fmt.Errorf("starting etcd in %s: %w", dir, err)
	}
	if err = s.awaitReady(ctx); err == nil {
		err = s.forget(ctx)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("starting etcd in %s: %w", dir, err)
	}
	return s, nil
}

// awaitReady returns when the store serves.
func (s *store) awaitReady(ctx context.Context) error {
	select {
	case <-s.etcd.Server.ReadyNotify():
		return nil
	case err := <-s.etcd.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return errors.New("not ready after a minute")
	}
}

// forget drops what objects were before this start; whoever watched them then is gone. The API server does the same every five
// minutes, but begins to count at its start, so that the database of one that ends sooner each time would only grow.
func (s *store) forget(ctx context.Context) error {
	_, err := s.etcd.Server.Compact(ctx, &etcdserverpb.CompactionRequest{Revision: s.etcd.Server.KV().Rev()})
	if errors.Is(err, mvcc.ErrCompacted) { // nothing has changed since
		return nil
	}
	return err
}

func storeConfig(dir string, client url.URL) *etcd.Config {
	c := etcd.NewConfig()
	c.Dir = filepath.Join(dir, "etcd")
	nominal := []url.URL{{Scheme: "http", Host: "127.0.0.1:2380"}} // must be host:port, never dialled with one member
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, nominal
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, nominal // nil: no peer listener at all
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.EnableGRPCGateway = false
	c.TickMs, c.ElectionMs = 40, 200 // short, for a start waits for one to five ticks; yet each costs something at rest
	// What is acknowledged is in the log; how often the database follows it is a matter of the work at the next start.
	c.BackendBatchInterval, c.BackendBatchLimit = time.Second, 1000
	c.LogLevel = "fatal" // errors are returned; at "error" each start and stop would log several
	c.WatchProgressNotifyInterval = 5 * time.Second
	// Entries of the raft log are kept in memory until a snapshot; there is no slow follower to keep them for.
	c.SnapshotCount, c.SnapshotCatchUpEntries = 1000, 100
	return c
}

// socketPath returns where etcd listens: in dir, or in a short temporary directory (also returned) when that is too long.
func socketPath(dir string) (path, temporary string, err error) {
	path = filepath.Join(dir, "etcd.sock")
	if len(path) <= maxSocketPath {
		return path, "", nil
	}
	temporary, err = os.MkdirTemp("/tmp", "sluice-") // not os.TempDir: TMPDIR may be as long as dir
	if err != nil {
		return "", "", fmt.Errorf("making a directory for etcd's socket, as the path of %s is too long for one: %w", dir, err)
	}
	return filepath.Join(temporary, "etcd.sock"), temporary, nil
}

// stop ends etcd. What was acknowledged is on disk long before.
func (s *store) stop() {
	s.etcd.Close()
	s.removeTemporary()
}

func (s *store) removeTemporary() {
	if s.temporary != "" {
		_ = os.RemoveAll(s.temporary)
	}
}
