"""Head models behind one protocol: ours (shipped), FLAME and ICT-FaceKit (the user's to bring)."""
