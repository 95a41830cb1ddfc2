//go:build !linux

package gateway

// takeLast hands over the connections that wait to be accepted. Those that come before the listener is closed are reset.
func (s *socket) takeLast() { s.takeWaiting() }
