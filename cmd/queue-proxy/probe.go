package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/model"
)

// probe is the part of Kubernetes' Probe that matters here. Its ports are numbers: only the pod's manifest knows their names.
type probe struct {
	HTTPGet *struct {
		Path        string `json:"path"`
		Host        string `json:"host"`
		Scheme      string `json:"scheme"`
		Port        port   `json:"port"`
		HTTPHeaders []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"httpHeaders"`
	} `json:"httpGet"`
	TCPSocket *struct {
		Host string `json:"host"`
		Port port   `json:"port"`
	} `json:"tcpSocket"`
	GRPC *struct {
		Port    port   `json:"port"`
		Service string `json:"service"`
	} `json:"grpc"`
	Exec                *json.RawMessage `json:"exec"`
	InitialDelaySeconds int              `json:"initialDelaySeconds"`
	TimeoutSeconds      int              `json:"timeoutSeconds"`
	PeriodSeconds       int              `json:"periodSeconds"`
	SuccessThreshold    int              `json:"successThreshold"`
	FailureThreshold    int              `json:"failureThreshold"`
}

// port is a number, or a string of digits as Kubernetes' IntOrString may be.
type port int

// UnmarshalJSON refuses a value that is not a port.
func (p *port) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("port is %q, want a number from 1 to 65535, or 0 for USER_PORT", text)
	}
	*p = port(n)
	return nil
}

// parseProbes reads one Probe, or a list of them, all of which must pass.
func parseProbes(text string) ([]probe, error) {
	var probes []probe
	var err error
	if strings.HasPrefix(strings.TrimSpace(text), "[") {
		err = json.Unmarshal([]byte(text), &probes)
	} else {
		probes = make([]probe, 1)
		err = json.Unmarshal([]byte(text), &probes[0])
	}
	if err != nil {
		return nil, fmt.Errorf("not a Probe of Kubernetes as JSON: %w", err)
	}
	if len(probes) == 0 {
		return nil, errors.New("the list is empty, want at least one Probe")
	}
	for _, p := range probes {
		if err := p.check(); err != nil {
			return nil, err
		}
	}
	return probes, nil
}

func (p probe) check() error {
	if p.Exec != nil {
		return errors.New("exec cannot be run from here: leave it to the application's container, and give tcpSocket here")
	}
	kinds := 0
	for _, given := range []bool{p.HTTPGet != nil, p.TCPSocket != nil, p.GRPC != nil} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		return fmt.Errorf("it has %d of httpGet, tcpSocket and grpc, want one", kinds)
	}
	if p.HTTPGet != nil {
		if scheme := p.HTTPGet.Scheme; scheme != "" && scheme != "HTTP" && scheme != "HTTPS" {
			return fmt.Errorf("httpGet.scheme is %q, want HTTP or HTTPS", scheme)
		}
	}
	if p.TCPSocket != nil && !here(p.TCPSocket.Host) {
		return fmt.Errorf("tcpSocket.host is %q, want none: the application is in this pod", p.TCPSocket.Host)
	}
	return p.checkNumbers()
}

func (p probe) checkNumbers() error {
	for name, seconds := range map[string]int{
		"initialDelaySeconds": p.InitialDelaySeconds, "timeoutSeconds": p.TimeoutSeconds, "periodSeconds": p.PeriodSeconds,
		"successThreshold": p.SuccessThreshold, "failureThreshold": p.FailureThreshold,
	} {
		if seconds < 0 || seconds > maxSeconds {
			return fmt.Errorf("%s is %d, want 0 to %d", name, seconds, maxSeconds)
		}
	}
	return nil
}

// here reports whether a host is the pod itself.
func here(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || host == "localhost" || ip != nil && ip.IsLoopback()
}

func (p probe) model() model.Probe {
	m := model.Probe{
		InitialDelay: time.Duration(p.InitialDelaySeconds) * time.Second,
		Timeout:      time.Duration(p.TimeoutSeconds) * time.Second,
		Period:       time.Duration(p.PeriodSeconds) * time.Second,

		SuccessThreshold: p.SuccessThreshold, FailureThreshold: p.FailureThreshold,
	}
	switch {
	case p.HTTPGet != nil:
		m.Port = int(p.HTTPGet.Port)
		m.HTTP = &model.HTTPProbe{Path: p.HTTPGet.Path, Scheme: p.HTTPGet.Scheme}
		if !here(p.HTTPGet.Host) {
			m.HTTP.Host = p.HTTPGet.Host
		}
		for _, h := range p.HTTPGet.HTTPHeaders {
			m.HTTP.Headers = append(m.HTTP.Headers, model.EnvVar{Name: h.Name, Value: h.Value})
		}
	case p.GRPC != nil:
		m.Port, m.GRPC = int(p.GRPC.Port), &model.GRPCProbe{Service: p.GRPC.Service}
	default:
		m.Port, m.TCP = int(p.TCPSocket.Port), true
	}
	return m
}
