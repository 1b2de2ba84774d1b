// A nil dereference in a goroutine while others wait; GOTRACEBACK=crash makes the core.
package main

import (
	"sync"
	"time"
)

type node struct {
	pad  [16]byte
	next *node
}

//go:noinline
func follow(n *node) *node { return n.next }

//go:noinline
func descend(depth int, n *node) *node {
	if depth == 0 {
		return follow(n)
	}
	return descend(depth-1, n)
}

func main() {
	var wait sync.WaitGroup
	wait.Add(1)
	for i := 0; i < 3; i++ {
		go func() { time.Sleep(time.Hour) }()
	}
	go func() {
		descend(5, nil)
		wait.Done()
	}()
	wait.Wait()
}
