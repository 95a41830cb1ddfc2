package dispatch

import "math/bits"

// bitset is a set of small numbers that finds its least member in constant time: summary says which words are not empty.
type bitset struct {
	words, summary []uint64
}

const wordBits = 64

func newBitset(size int) bitset {
	words := (size + wordBits - 1) / wordBits
	return bitset{words: make([]uint64, words), summary: make([]uint64, (words+wordBits-1)/wordBits)}
}

func (s *bitset) set(i int, member bool) {
	w := i / wordBits
	if member {
		s.words[w] |= 1 << (i % wordBits)
	} else {
		s.words[w] &^= 1 << (i % wordBits)
	}
	if s.words[w] != 0 {
		s.summary[w/wordBits] |= 1 << (w % wordBits)
	} else {
		s.summary[w/wordBits] &^= 1 << (w % wordBits)
	}
}

// first returns the least member, or -1.
func (s *bitset) first() int {
	for i, any := range s.summary {
		if any != 0 {
			w := i*wordBits + bits.TrailingZeros64(any)
			return w*wordBits + bits.TrailingZeros64(s.words[w])
		}
	}
	return -1
}
