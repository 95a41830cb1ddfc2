package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"sluice.dev/sluice/model"
)

// inherited are the variables that a replica gets from our environment. A container would get none, but programs of this
// machine need these. The others may hold secrets of ours.
var inherited = []string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"}

// outputTimeout is how long the runtime waits for the rest of the output of a container that has ended.
const outputTimeout = 500 * time.Millisecond

// container is one running process of a replica and its group.
type container struct {
	runtime *Runtime
	marker  marker
	index   int
	name    string
	began   time.Time
	command *exec.Cmd
	output  *output
	reader  *os.File      // the end of the pipe that we read output from
	read    chan struct{} // closed when all output is read
	forget  func()        // removes the record
	ended   chan struct{} // closed when wait returns

	mu     sync.Mutex
	reaped bool // guarded by mu; true if the kernel may have given the pid to another process
}

// startContainer starts container i of r. If the manifest is the reason of a failure, the failure says what is wrong with it.
func startContainer(r *replica, i, port int) (*container, *model.Failure) {
	spec := r.spec.Containers[i]
	out, err := newOutput(r.logPath(i), r.runtime.opts.LogLimit)
	if err != nil { // the disk may be full; the replica can serve without a log
		r.logger.Warn("cannot write the log of a container: its output is lost until it starts again", "container", spec.Name, "error", err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		out.close()
		return nil, startFailed("Container %q cannot be started, because there is no pipe for its output: %v.", spec.Name, err)
	}
	defer func() { _ = writer.Close() }() // the process has a copy
	cmd, m := r.command(i, port, append(append([]string{}, spec.Command...), spec.Args...))
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := r.runtime.starter.start(cmd); err != nil {
		_ = reader.Close()
		out.close()
		return nil, commandFailure(spec, cmd, err)
	}
	r.runtime.families.begin(cmd.Process.Pid, m)
	c := &container{
		runtime: r.runtime, marker: m, index: i, name: spec.Name, began: time.Now(), command: cmd, output: out, reader: reader,
		read: make(chan struct{}), ended: make(chan struct{}),
		forget: r.runtime.records.write(cmd.Process.Pid, m, r.spec.Revision.String()),
	}
	go func() { // ends with the pipe, which wait closes
		defer close(c.read)
		out.copy(reader)
	}()
	return c, nil
}

// logPath is Dir/logs/NAMESPACE/REVISION/REPLICA.log for the serving container, REPLICA.CONTAINER.log for the others.
func (r *replica) logPath(i int) string {
	name := strconv.Itoa(r.number)
	if i > 0 {
		name += "." + r.spec.Containers[i].Name
	}
	return filepath.Join(r.runtime.opts.Dir, "logs", r.spec.Revision.Namespace, r.spec.Revision.Name, name+".log")
}

// command prepares a command with the environment and working directory of container i, and returns the marker of the
// processes that it starts.
func (r *replica) command(i, port int, line []string) (*exec.Cmd, marker) {
	m, spec := newMarker(), r.spec.Containers[i]
	own := []model.EnvVar{
		{Name: "K_SERVICE", Value: r.spec.Service},
		{Name: "K_CONFIGURATION", Value: r.spec.Configuration},
		{Name: "K_REVISION", Value: r.spec.Revision.Name},
	}
	if i == 0 {
		own = append(own, model.EnvVar{Name: "PORT", Value: strconv.Itoa(port)})
	}
	reserved, values := map[string]bool{markerVariable: true}, map[string]string{}
	for _, v := range own {
		reserved[v.Name], values[v.Name] = true, v.Value
	}
	for _, v := range spec.Env {
		if !reserved[v.Name] {
			v.Value = expand(v.Value, values)
			own, values[v.Name] = append(own, v), v.Value
		}
	}
	env := []string{markerVariable + "=" + m.String()}
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	if bin := r.runtime.opts.Bin; bin != "" {
		env = append(env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	for _, v := range own {
		env = append(env, v.Name+"="+v.Value) // of two with one name the later one counts
	}
	expanded := make([]string, len(line))
	for i, word := range line {
		expanded[i] = expand(word, values)
	}
	cmd := exec.Command(r.runtime.program(expanded[0]), expanded[1:]...) //nolint:gosec // running the user's command is the purpose
	cmd.Args[0] = expanded[0]
	cmd.Dir, cmd.Env, cmd.SysProcAttr = spec.WorkingDir, env, processAttributes()
	return cmd, m
}

// program is a command in Options.Bin, or else as it was given, for our own PATH.
func (r *Runtime) program(command string) string {
	if r.opts.Bin == "" || command == "" || strings.ContainsRune(command, filepath.Separator) {
		return command
	}
	if path, err := exec.LookPath(filepath.Join(r.opts.Bin, command)); err == nil {
		return path
	}
	return command
}

// expand replaces $(NAME) by its value as Kubernetes does in command, args and env: an unknown name stays as it is, and
// $$ is a dollar sign.
func expand(s string, values map[string]string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, rest, closed := strings.Cut(strings.TrimPrefix(after, "("), ")")
		value, known := values[name]
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			s = after[1:]
		case strings.HasPrefix(after, "(") && closed && known:
			b.WriteString(value)
			s = rest
		default:
			b.WriteByte('$')
			s = after
		}
	}
}

// commandFailure says why a command could not be started.
func commandFailure(spec model.Container, cmd *exec.Cmd, err error) *model.Failure {
	command := spec.Command[0]
	if _, missing := os.Stat(cmd.Dir); cmd.Dir != "" && missing != nil {
		return &model.Failure{Reason: "WorkingDirMissing", Lasting: true, Message: fmt.Sprintf(
			"Container %q cannot be started: its workingDir %q is not a directory of this machine.", spec.Name, cmd.Dir)}
	}
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return &model.Failure{Reason: "CommandNotFound", Lasting: true, Message: fmt.Sprintf(
			"Container %q cannot be started: its command %q does not exist on this machine. "+
				"Give a path, or a program in $PATH.", spec.Name, command)}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		return &model.Failure{Reason: "CommandNotExecutable", Lasting: true, Message: fmt.Sprintf(
			"Container %q cannot be started: its command %q is not an executable file.", spec.Name, command)}
	}
	return startFailed("Container %q cannot be started: %v.", spec.Name, err)
}

// wait returns when the process and its descendants have ended and their output is read.
func (c *container) wait() {
	defer close(c.ended)
	pid := c.command.Process.Pid
	ended := awaitExit(pid)
	if !ended {
		_ = c.command.Wait() // its outcome is in ProcessState
	}
	c.mu.Lock()
	if ended {
		// Until we reap the leader the kernel gives its group's number to no other group, so this kills only the rest of its group.
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		_ = c.command.Wait()
	}
	c.reaped = true
	c.mu.Unlock()
	c.runtime.families.end(c.marker)
	select {
	case <-c.read:
	case <-time.After(outputTimeout): // a process outside the group still has the pipe
	}
	_ = c.reader.Close()
	<-c.read
	c.output.close()
	c.forget()
}

// signal sends a signal to the process group, if it is still there.
func (c *container) signal(s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reaped {
		_ = syscall.Kill(-c.command.Process.Pid, s) // fails only if it is gone
	}
}

// exitFailure describes the end of a container that the runtime did not ask to end. Like Kubernetes it counts a signal as exit
// code 128 + its number.
func (c *container) exitFailure(r *replica) *model.Failure {
	state := c.command.ProcessState
	code := state.ExitCode()
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	message := fmt.Sprintf("Container %q of replica %d ended with exit code %d after %s",
		c.name, r.number, code, time.Since(c.began).Round(time.Millisecond))
	if tail := c.output.lastLines(); tail != "" {
		message += "; its last output was:\n" + tail
	} else {
		message += " without any output."
	}
	return &model.Failure{Reason: "ExitCode" + strconv.Itoa(code), Message: message}
}

// runCommand runs an exec probe of container i. The error has the command's output.
func runCommand(ctx context.Context, r *replica, i, port int, line []string) error {
	cmd, m := r.command(i, port, line)
	var tail tail
	cmd.Stdout, cmd.Stderr = &tail, &tail
	cmd.WaitDelay = outputTimeout
	if err := r.runtime.starter.start(cmd); err != nil {
		return fmt.Errorf("exec probe: %w", err)
	}
	pid := cmd.Process.Pid
	r.runtime.families.begin(pid, m)
	defer r.runtime.records.write(pid, m, "probe of "+r.spec.Revision.String())()
	defer r.runtime.families.end(m)
	killed := make(chan struct{})
	inTime := context.AfterFunc(ctx, func() {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		close(killed)
	})
	ended := awaitExit(pid)
	late := ended && !inTime()
	if late {
		<-killed
	}
	if ended {
		_ = syscall.Kill(-pid, syscall.SIGKILL) // the rest of its group
	}
	err := cmd.Wait()
	if late {
		return fmt.Errorf("exec probe %q took too long", line[0])
	}
	if err != nil {
		return fmt.Errorf("exec probe %q: %w: %s", line[0], err, tail.lines())
	}
	return nil
}
