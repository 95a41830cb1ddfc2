//go:build !linux

package listener

// takeLast hands over the connections that wait to be accepted. Those that come before the listener is closed are reset.
func (s *Socket) takeLast() { s.takeWaiting() }
