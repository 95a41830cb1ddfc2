//go:build !linux

package listener

// takeLast hands over the connections that wait to be accepted. Later ones are reset when the socket closes.
func (s *Socket) takeLast() { s.takeWaiting() }
