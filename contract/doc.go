// Package contract is what the processes of Sluice say to each other: the headers, reasons, roles and names that one of them writes
// and another one reads. Each of these texts stands here and nowhere else; a test holds the rest of the house to that.
//
// It imports the standard library alone, so that every package may import it. It must not know what anybody does with a name, nor
// names that one package alone uses.
package contract
