// Package send is the command that sends a CloudEvent and follows what becomes of it, for people and scripts. It must not know the control
// plane: it speaks HTTP alone.
package send
