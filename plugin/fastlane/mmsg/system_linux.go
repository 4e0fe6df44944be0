package mmsg

func newSystem(s socket) system { return newMulti(s) }
