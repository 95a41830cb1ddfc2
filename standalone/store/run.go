package store

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
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// startTimeout is how long etcd may take until it serves.
	startTimeout = time.Minute
	// cutTimeout is for how long etcd's log, after a leader is elected, may end before the newest entry in the database.
	cutTimeout = 2 * time.Second
)

// Config says what Run runs.
type Config struct {
	// Dir is the directory of etcd's files, and Socket where it listens.
	Dir, Socket string
	// Existing is true if the store has served this API server before. Then Run refuses an empty directory, and keeps older
	// versions of objects, since clients watch.
	Existing bool
	// Ready is called once, when etcd serves.
	Ready func()
	// Failed is called when etcd would end the process; it must not return. If it is nil, etcd ends the process.
	Failed func(error)
	// Orphaned is called by Serve when its parent was killed, before a next parent can use the files. It must return within some seconds,
	// less than lockTimeout. It may be nil.
	Orphaned func()
}

// Run runs etcd in this process until ctx ends. Its errors are sentences for the user.
func Run(ctx context.Context, c Config) error {
	unlock, err := c.claim()
	if err != nil {
		return err
	}
	defer unlock()
	e, err := etcd.StartEtcd(c.etcd())
	if err != nil {
		return explain(c.Dir, err)
	}
	defer e.Close() // acknowledged writes are on disk already
	if err = c.serve(ctx, e); err != nil {
		err = explain(c.Dir, err)
		if c.Failed != nil {
			c.Failed(err) // before Close, which may never return after a failure
		}
	}
	return err
}

// claim locks the files if etcd can use them.
func (c Config) claim() (unlock func(), err error) {
	if _, err := os.Stat(c.Dir); c.Existing && errors.Is(err, os.ErrNotExist) {
		return nil, errGone(c.Dir)
	}
	unlock, err = lock(c.Dir)
	if err != nil {
		return nil, explain(c.Dir, err)
	}
	if err = check(c.Dir, c.Existing); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// serve returns nil when ctx ends, or why etcd does not serve.
func (c Config) serve(ctx context.Context, e *etcd.Etcd) error {
	err := c.awaitReady(ctx, e)
	if err == nil && !c.Existing {
		err = forget(ctx, e)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = mark(c.Dir)
	}
	if err != nil {
		return err
	}
	c.Ready()
	select {
	case <-ctx.Done():
		return nil
	case err := <-e.Err():
		return err
	case <-e.Server.StopNotify():
		return errors.New("etcd has stopped")
	}
}

// awaitReady returns when etcd serves.
func (c Config) awaitReady(ctx context.Context, e *etcd.Etcd) error {
	tx := e.Server.Backend().ReadTx()
	tx.RLock()
	seen, _ := schema.UnsafeReadConsistentIndex(tx)
	tx.RUnlock()
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	tick := time.NewTicker(cutTimeout)
	defer tick.Stop()
	for last := uint64(0); ; {
		select {
		case <-e.Server.ReadyNotify():
			return nil
		case err := <-e.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return fmt.Errorf("it did not serve within %v", startTimeout)
		case <-tick.C:
			committed := e.Server.CommittedIndex()
			// etcd would give new entries numbers that the database has seen, and drop them.
			if e.Server.Leader() != 0 && committed == last && committed <= seen {
				return fmt.Errorf("%w: it ends at entry %d, and the database has seen entry %d", errCut, committed, seen)
			}
			last = committed
		}
	}
}

// forget removes older versions of objects: no client still watches from before this start. The API server does the same every five
// minutes. But it begins to count at its start, so the database of a server that always ends sooner would grow without bound.
func forget(ctx context.Context, e *etcd.Etcd) error {
	_, err := e.Server.Compact(ctx, &etcdserverpb.CompactionRequest{Revision: e.Server.KV().Rev()})
	if errors.Is(err, mvcc.ErrCompacted) { // nothing has changed since the last time
		return nil
	}
	return err
}

func (c Config) etcd() *etcd.Config {
	conf := etcd.NewConfig()
	conf.Dir = c.Dir
	nominal := []url.URL{{Scheme: "http", Host: "127.0.0.1:2380"}} // must be host:port, never dialled with one member
	conf.ListenClientUrls, conf.AdvertiseClientUrls = []url.URL{{Scheme: "unix", Path: c.Socket}}, nominal
	conf.ListenPeerUrls, conf.AdvertisePeerUrls = nil, nominal // nil: no peer listener at all
	conf.InitialCluster = conf.InitialClusterFromName(conf.Name)
	conf.EnableGRPCGateway = false
	conf.TickMs, conf.ElectionMs = 20, 100 // one member has nothing to wait for at the election
	// Acknowledged writes are in the log. A database that is written less often only makes the next start replay more of it.
	conf.BackendBatchInterval, conf.BackendBatchLimit = time.Second, 1000
	conf.LogLevel = "fatal" // errors are returned; at "error" each start and stop would log several
	if c.Failed != nil {
		conf.ZapLoggerBuilder = etcd.NewZapLoggerBuilder(zap.New(silent{}, zap.WithFatalHook(hook(c)), zap.WithPanicHook(hook(c))))
	}
	conf.WatchProgressNotifyInterval = 5 * time.Second
	// Entries of the raft log are kept in memory until a snapshot; there is no slow follower to keep them for.
	conf.SnapshotCount, conf.SnapshotCatchUpEntries = 1000, 100
	return conf
}

// silent is a log of only those entries that end the process, for hook.
type silent struct{}

func (silent) Enabled(l zapcore.Level) bool        { return l >= zapcore.PanicLevel }
func (s silent) With([]zapcore.Field) zapcore.Core { return s }
func (silent) Write(zapcore.Entry, []zapcore.Field) error {
	return nil
}
func (silent) Sync() error { return nil }
func (s silent) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return to.AddCore(e, s)
}

// hook calls Failed where etcd would end the process.
type hook Config

// OnWrite calls Failed with the reason.
func (h hook) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := errors.New(e.Message)
	for _, f := range fields {
		if cause, ok := f.Interface.(error); ok {
			err = fmt.Errorf("%s: %w", e.Message, cause)
		}
	}
	h.Failed(explain(h.Dir, err))
}

// member is where etcd keeps a part of its files.
func member(dir, part string) string { return filepath.Join(dir, "member", part) }
